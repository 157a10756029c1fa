"""Unlearning methods for image classifiers."""
