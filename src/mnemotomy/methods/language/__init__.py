"""Unlearning methods for causal language models; each in its own file."""
