"""The `clue` suite: pretext tasks compared by the transfer between services."""
