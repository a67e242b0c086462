"""Floor 3: representation models, Ray Train runs and Ray Data backfill."""
