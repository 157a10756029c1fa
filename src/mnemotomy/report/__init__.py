"""Figures, tables, HTML pages and model cards."""
