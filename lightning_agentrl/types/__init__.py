"""The nouns of the framework: tasks, trajectories, the rollout batch, and what a credit assigner returns.

Notation used for tensor shapes, here and everywhere: N trajectories, T tokens, K turns, G trajectories per prompt,
P prompts, V vocabulary, A answer aliases, L probe tokens. Column *t* of every [N, T] tensor speaks of token *t*;
``logprobs[:, t]`` is ``log p(x_t | x_<t)`` and column 0 is 0.
"""

from lightning_agentrl.types.batch import TOKEN_FIELDS, Credit, Metrics, RolloutBatch, Signal
from lightning_agentrl.types.calls import Action, CallError, ParsedCall, ToolCall
from lightning_agentrl.types.errors import InfrastructureError
from lightning_agentrl.types.host import (
    BranchPoint,
    Reward,
    Segment,
    StopReason,
    Task,
    Timing,
    Trajectory,
    Turn,
)
from lightning_agentrl.types.learner import Holding, Learner, Weights

__all__ = [
    "TOKEN_FIELDS",
    "Action",
    "BranchPoint",
    "CallError",
    "Credit",
    "Holding",
    "InfrastructureError",
    "Learner",
    "Metrics",
    "ParsedCall",
    "Reward",
    "RolloutBatch",
    "Segment",
    "Signal",
    "StopReason",
    "Task",
    "Timing",
    "ToolCall",
    "Trajectory",
    "Turn",
    "Weights",
]
