"""Light downstream models on frozen vectors: what a consumer trains on one version, and what tasks measure with.

A vector comes in; probabilities of classes, or scores of items, come out. Never anything of the encoder.

examples.py     what is learned from: vectors with a class, or an item, each
kinds.py        the registry of kinds and what each has to be able to do
logistic.py, mlp.py, boosting.py, two_tower.py; scale.py and descent.py are what they share
head.py         a fitted model with what it was fitted on: `fit`, `scores`, `predict`, `save`, `load_head`
measures.py     AUC, accuracy, log loss, and a bootstrap interval over users
trained.py      a consumer's head from pinned training sets: users split, fitted, measured, kept
"""
