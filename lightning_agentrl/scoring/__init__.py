"""The policy's opinion of given tokens, and of nothing that nobody asked for."""

from lightning_agentrl.scoring.padded import forward
from lightning_agentrl.scoring.scores import Scores, score

__all__ = ["Scores", "forward", "score"]
