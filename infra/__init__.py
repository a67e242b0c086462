"""Floor 5: composition. Settings, the `portrait` command line and migrations."""
