"""Floor 2: the Feast repository; event log, history fold and snapshots; the one seam to Feast."""
