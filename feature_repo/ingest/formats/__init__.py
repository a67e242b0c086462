"""Formats of files, CSV and Parquet, as numbered rows; a row that is none is set aside with its reason."""
