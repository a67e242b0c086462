"""GUR's offline tables (arXiv 2403.00584, section 4) on an instance's own data."""
