"""Evaluation tasks: their kinds and files, the data that they are built from, and the methods measured on them."""
