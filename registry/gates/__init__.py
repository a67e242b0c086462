"""Promotion gates: the rules, and the policies that list them."""
