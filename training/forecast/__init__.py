"""Forecast: a vector of what is known of a user and of what it tells of the weeks to come, solved in closed form."""
