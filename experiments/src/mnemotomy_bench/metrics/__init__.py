"""Metrics that only the experiments use: pure functions of observations."""
