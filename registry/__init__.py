"""Floor 1: embedding versions, consumers, assignments and promotions, kept in SQL. Knows no Feast, torch or Ray."""
