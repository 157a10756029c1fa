"""Metrics that only the experiments read: pure functions of observations."""
