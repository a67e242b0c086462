"""The rules that gates are made of, one file a subject. Each looks only at the facts it is given."""
