"""Shipped fakes: everything a test or a notebook needs to run without a model."""

from lightning_agentrl.testing.batches import rollouts
from lightning_agentrl.testing.engine import Reply, ScriptedEngine
from lightning_agentrl.testing.environment import ToyEnvironment
from lightning_agentrl.testing.policy import tiny_policy

__all__ = ["Reply", "ScriptedEngine", "ToyEnvironment", "rollouts", "tiny_policy"]
