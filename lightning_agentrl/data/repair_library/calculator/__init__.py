"""Arithmetic on text."""
