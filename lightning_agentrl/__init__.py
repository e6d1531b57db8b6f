"""Reinforcement learning of tool-using, multi-turn LLM agents on PyTorch Lightning, with credit for every turn."""

from lightning_agentrl.credit.a2tgpo import A2TGPO
from lightning_agentrl.credit.aem import AEM
from lightning_agentrl.credit.appo import APPO
from lightning_agentrl.credit.arpo import ARPO
from lightning_agentrl.credit.base import CreditAssigner
from lightning_agentrl.credit.dr_grpo import DrGRPO
from lightning_agentrl.credit.gigpo import GiGPO
from lightning_agentrl.credit.grpo import GRPO
from lightning_agentrl.credit.igpo import IGPO
from lightning_agentrl.credit.mt_grpo import MTGRPO
from lightning_agentrl.credit.reinforce_plus_plus import ReinforcePlusPlus
from lightning_agentrl.credit.rloo import RLOO
from lightning_agentrl.losses.base import PolicyLoss
from lightning_agentrl.losses.cispo import CISPOLoss
from lightning_agentrl.losses.clipped import ClippedLoss
from lightning_agentrl.losses.future_kl import FutureKLLoss
from lightning_agentrl.types import Credit, RolloutBatch, Signal

__version__ = "0.1.0"

__all__ = [
    "A2TGPO",
    "AEM",
    "APPO",
    "ARPO",
    "GRPO",
    "IGPO",
    "MTGRPO",
    "RLOO",
    "CISPOLoss",
    "ClippedLoss",
    "Credit",
    "CreditAssigner",
    "DrGRPO",
    "FutureKLLoss",
    "GiGPO",
    "PolicyLoss",
    "ReinforcePlusPlus",
    "RolloutBatch",
    "Signal",
    "__version__",
]
