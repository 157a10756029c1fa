"""Symbolic RAM: a fact store outside the weights, and a reader that looks facts up for a model."""
