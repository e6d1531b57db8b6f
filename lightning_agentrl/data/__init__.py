"""Readers of questions and passages, and the built-in worlds."""
