"""How good a representation is: frozen vectors, light heads, users whom no part of it has seen."""
