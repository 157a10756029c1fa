"""Fixtures of the experiments' tests."""

from surroundings import quiet, seeded

__all__ = ["quiet", "seeded"]
