"""Metrics: pure functions of observations."""
