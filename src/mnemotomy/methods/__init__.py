"""Unlearning methods behind one call: ``method(problem)`` is a new model that has forgotten."""
