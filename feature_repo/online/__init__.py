"""Online stores: subclasses of those of Feast whose writes win only when they are newer."""
