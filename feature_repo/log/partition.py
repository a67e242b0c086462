"""The partition function: log, Ray tasks, backfill resume points and refresh shards all use it."""

import hashlib

BUCKETS = 64


def bucket_of(user_id: str) -> int:
    """The bucket of a user, 0 to 63: the low six bits of the first byte of MD5 of the id in UTF-8."""
    return hashlib.md5(user_id.encode(), usedforsecurity=False).digest()[0] % BUCKETS


def bucket_sql(column: str) -> str:
    """`bucket_of` as a DuckDB expression over a string column."""
    return f"(('0x' || substr(md5({column}), 1, 2))::UTINYINT % {BUCKETS})"
