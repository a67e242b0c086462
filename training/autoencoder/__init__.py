"""The GUR autoencoder: blocks of pooled item vectors, profile and context, compressed to one vector."""
