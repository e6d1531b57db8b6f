"""Text games that TextWorld generates: making them, playing them, demonstrations of them."""

from lightning_agentrl.environments.textworld.environment import TextWorldGames

__all__ = ["TextWorldGames"]
