"""Reinforcement learning of tool-using, multi-turn LLM agents on PyTorch Lightning, with credit for every turn."""

from lightning_agentrl.credit.base import CreditAssigner
from lightning_agentrl.credit.grpo import GRPO
from lightning_agentrl.losses.base import PolicyLoss
from lightning_agentrl.losses.clipped import ClippedLoss
from lightning_agentrl.types import Credit, RolloutBatch, Signal

__version__ = "0.1.0"

__all__ = ["GRPO", "ClippedLoss", "Credit", "CreditAssigner", "PolicyLoss", "RolloutBatch", "Signal", "__version__"]
