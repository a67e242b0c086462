"""The event log: ingest, segments with their manifest, the history fold and snapshots."""
