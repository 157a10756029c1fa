"""Unlearning methods for classifiers behind one call: ``method(problem)`` is a new model that has forgotten."""
