"""A small markup language."""
