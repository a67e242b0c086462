"""Tables for the terminal, made from records."""
