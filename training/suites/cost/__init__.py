"""What five consumers pay with features of their own, and on one shared vector (GUR's -50% of infrastructure and
features at equal metrics).
"""
