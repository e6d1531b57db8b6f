"""Metrics as torchmetrics."""
