"""Environments: tasks, tools and verdicts."""
