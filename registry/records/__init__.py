"""Records: frozen copies of rows, and the gate settings, grants, verdicts and evidence in them."""
