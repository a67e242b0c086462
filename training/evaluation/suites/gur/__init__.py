"""The `gur` suite: the representation beside the methods of GUR's tables."""
