"""Fixtures of the experiments' tests."""

from drawn import figures
from surroundings import quiet, seeded

__all__ = ["figures", "quiet", "seeded"]
