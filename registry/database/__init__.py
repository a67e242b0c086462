"""The registry's database: tables, connections, errors of the drivers, compaction."""
