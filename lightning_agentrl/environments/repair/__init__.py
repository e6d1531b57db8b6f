"""Small broken repositories to repair with tools."""

from lightning_agentrl.environments.repair.environment import Repair

__all__ = ["Repair"]
