"""Texts as a model reads them: records, templates, encoding, padding."""
