"""The policy's opinion of given tokens, and of nothing that nobody asked for."""

from lightning_agentrl.scoring.tokens import Scores, forward, score

__all__ = ["Scores", "forward", "score"]
