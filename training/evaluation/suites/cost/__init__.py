"""The `cost` suite: one shared vector beside five teams' hand-made features, in metrics, bytes and seconds."""
