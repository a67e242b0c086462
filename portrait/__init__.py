"""One learned portrait of every user, shared by every model."""
