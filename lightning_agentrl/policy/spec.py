"""Which policy a run trains, and in which form it is held."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch.utilities import rank_zero_warn

from lightning_agentrl.policy.loading import Dtype, load_config, load_policy, load_tokenizer, skeleton
from lightning_agentrl.policy.lora import Lora, adapter_config, add_adapters, is_adapter, targeted
from lightning_agentrl.precision import use_float32_head

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class PolicySpec:
    """A checkpoint folder or hub id and the form in which it is loaded. Nothing is read before it is asked for."""

    source: str
    dtype: Dtype = "float32"
    lora: Lora | None = None
    gradient_checkpointing: bool = False
    float32_head: bool = False

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The policy's tokenizer."""
        return load_tokenizer(self.source)

    @cached_property
    def config(self) -> PretrainedConfig:
        """The policy's architecture, without dropout."""
        return load_config(self.source)

    @cached_property
    def skeleton(self) -> PreTrainedModel:
        """The network without memory: names and shapes alone."""
        return skeleton(self.config)

    @property
    def parameters(self) -> int:
        """How many numbers the policy consists of, without adapters; tied ones count once."""
        return sum(parameter.numel() for parameter in self.skeleton.parameters())

    @cached_property
    def targeted(self) -> dict[str, nn.Linear]:
        """Layers of the skeleton that get an adapter, by name; none without LoRA."""
        return {} if self.lora is None else targeted(self.lora, self.skeleton)

    def check(self, device: torch.device) -> None:
        """See that LoRA's layers and 4-bit weights are there, at the cost of reading a configuration.

        Says so when weights in 16 bits are trained themselves.

        Raises:
            ValueError: when a target of LoRA matches no layer, or 4-bit weights are asked for without CUDA.
            ImportError: when they are asked for without bitsandbytes.
        """
        if self.lora is not None:
            self.lora.check_device(device)
            assert self.targeted
        elif self.dtype != "float32":
            rank_zero_warn(
                f"model.dtype={self.dtype} without model.lora: the trained weights are rounded after each step, and in "
                f"bfloat16 a step of less than 0.2 % of a weight vanishes. Use float32 with bf16-mixed, LoRA, or an "
                f"optimizer that rounds at random (torchao.optim.AdamW8bit with bf16_stochastic_round)."
            )

    @property
    def description(self) -> dict[str, Any]:
        """What a checkpoint says about its policy, in plain values."""
        return {
            "policy": self.source,
            "dtype": self.dtype,
            "lora": None if self.lora is None else asdict(self.lora),
        }

    def trained(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The part of a state that training changes: with LoRA the adapters, else all of it."""
        return {name: tensor for name, tensor in state.items() if self.lora is None or is_adapter(name)}

    def load(self) -> PreTrainedModel:
        """The policy, ready to be trained."""
        network = self.load_base()
        if self.lora is not None:
            add_adapters(network, self.lora, self.source)
        if self.gradient_checkpointing:
            network.gradient_checkpointing_enable({"use_reentrant": False})
        return network

    def load_base(self) -> PreTrainedModel:
        """The policy as the run starts from it, without adapters; on torch's default device."""
        options: dict[str, Any] = {}
        if self.lora is not None and self.lora.quantize is not None:
            self.lora.check_quantization()
            options = {"quantization_config": self._quantization(), "device_map": {"": torch.get_default_device()}}
        network = load_policy(self.source, self.config, self.dtype, **options)
        if self.float32_head:
            use_float32_head(network)
        return network

    def adapter_config(self) -> Any:
        """Peft's description of the adapters."""
        assert self.lora is not None
        return adapter_config(self.lora, self.targeted, self.source)

    def _quantization(self) -> Any:
        from transformers import BitsAndBytesConfig

        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=getattr(torch, self.dtype),
        )
