"""Refresh: vectors that follow the log in near real time, by shards that share its buckets."""
