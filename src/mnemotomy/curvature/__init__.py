"""Curvature of a loss: Kronecker factors, weight gradients, steps and their lengths."""
