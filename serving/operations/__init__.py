"""Operations on an instance, their view of its freshness, and the reconciler."""
