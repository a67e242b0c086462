"""Evaluation of representations: frozen vectors under light heads, measured on users whom no part has seen."""
