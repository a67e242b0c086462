"""The demo: the whole path in one command, and the report that it ends with."""
