"""The policy: what it is made from, in which form it is held, and what becomes of it."""

from lightning_agentrl.policy.loading import MIXED, Dtype, TinyPolicy, load_config, load_policy, load_tokenizer
from lightning_agentrl.policy.lora import Lora
from lightning_agentrl.policy.spec import PolicySpec

__all__ = ["MIXED", "Dtype", "Lora", "PolicySpec", "TinyPolicy", "load_config", "load_policy", "load_tokenizer"]
