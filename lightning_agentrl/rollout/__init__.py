"""The agent loop, and what becomes of its trajectories."""
