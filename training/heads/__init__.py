"""Heads: light downstream models on the frozen vectors of one version, trained by consumers and by tasks.

A head turns vectors into probabilities of classes or into scores of items, and knows nothing of the encoder.

examples.py     training examples: vectors with a class, or with an item, each
kinds.py        the kinds by name, and their interface
logistic.py, mlp.py, boosting.py, two_tower.py: the kinds; descent.py: gradient descent and scale, which they share
head.py         a fitted model with what it was fitted on: `fit`, `scores`, `predict`, `save`, `load_head`
trained.py      a consumer's head from pinned training sets: users split, fitted, measured, kept
"""
