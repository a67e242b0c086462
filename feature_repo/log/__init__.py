"""The event log: inbox, segments and their manifest, the tail, leases, and forgotten users."""
