"""What commands show people: records as tables for the terminal."""
