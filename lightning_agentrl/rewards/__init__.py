"""Verdicts on an answer: plain functions of strings."""
