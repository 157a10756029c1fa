"""Forgetting in one call: candidates, a search on the model itself, guards, a Pareto list."""
