"""Pretrained models that nobody here trained: facts that they know, forgotten and asked for."""
