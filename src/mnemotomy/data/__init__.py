"""Texts, images, facts and small worlds."""
