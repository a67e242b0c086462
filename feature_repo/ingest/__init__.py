"""Ingest: files and JSON records judged on their way into the log, and the sealing of the inbox."""
