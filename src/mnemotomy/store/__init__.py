"""Symbolic RAM: facts in a store outside the weights, and a reader that looks them up for a model."""
