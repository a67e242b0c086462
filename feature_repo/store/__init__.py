"""The store: the one seam to Feast, a shard's fenced writes, offline inputs, and the reconciling of Feast."""
