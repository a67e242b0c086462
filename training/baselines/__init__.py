"""Baselines that a representation has to beat: known methods, fitted on the training users alone, a file each."""
