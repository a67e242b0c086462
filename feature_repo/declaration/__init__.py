"""Feast declarations: views and services, the teams' own views, and the guarded apply."""
