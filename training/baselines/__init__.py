"""The plain known methods that a representation has to beat: fitted on training users alone, one small file each."""
