"""Floor 1: the registry of versions, consumers, assignments and promotions, in SQL. Imports no Feast, torch or Ray."""
