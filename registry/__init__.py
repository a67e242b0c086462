"""Floor 1: embedding versions, consumers, assignments and promotions, kept in SQL. Knows nothing of Feast, torch or Ray."""
