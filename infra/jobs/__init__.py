"""Jobs on an instance that commands and the demo run."""
