"""Drawings of credit: plain data in, a matplotlib figure out."""
