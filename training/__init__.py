"""Floor 3: representation models, their training, backfill and evaluation, and the heads on top of them."""
