"""Observations: what one forward pass of a prompt shows."""
