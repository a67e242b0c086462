"""Tasks that measure what a representation is good for: declared in TOML, built from log and labels."""
