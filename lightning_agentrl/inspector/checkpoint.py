"""A policy for saved rollouts: computes signals that were not saved, and what each assigner's gradient is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.cli import LightningArgumentParser
from torch import Tensor

from lightning_agentrl.datamodule import AgentRLDataModule
from lightning_agentrl.inspector.opinions import Opinion
from lightning_agentrl.losses.weighing import weigh
from lightning_agentrl.module import AgentRLModule
from lightning_agentrl.policy.export import read_checkpoint
from lightning_agentrl.policy.lora import check_same_weights
from lightning_agentrl.rollout.bundle import Bundle
from lightning_agentrl.rollout.probes import with_probes
from lightning_agentrl.scoring import score
from lightning_agentrl.scoring.signals import fill
from lightning_agentrl.types import RolloutBatch, Signal, Task


class Checkpoint:
    """The module of a run with the weights of one of its checkpoints."""

    def __init__(self, path: Path, saved: Bundle) -> None:
        """Build the module as the run did, and load the weights.

        Args:
            path: Lightning checkpoint of the run that saved the rollouts; a file, or the folder of a sharded one.
            saved: the rollouts; their bundle holds the configuration.

        Raises:
            ValueError: when the file is no checkpoint of ours or of another policy, or the bundle came without a
                configuration.
        """
        if saved.meta.get("config") is None:
            raise ValueError(f"{saved.folder} holds no configuration, so the policy cannot be built from it.")
        described, state = read_checkpoint(path)
        self.saved, self.step = saved, int(described["step"])
        self.module, self.data = _built(saved.meta["config"])
        self.module.spec = replace(self.module.spec, source=described["policy"])
        self.module.configure_model()
        check_same_weights(state, self.module.spec.trained(self.module.network.state_dict()))
        self.module.network.load_state_dict(state, strict=self.module.strict_loading)

    def fill(self, signals: Signal) -> RolloutBatch:
        """The saved rows with signals that the policy of the checkpoint computes."""
        batch, module = self.saved.batch, self.module
        if Signal.ANSWER_LOGPROBS in signals and batch.probe_ids is None:
            tasks = [Task(record["task"], (), tuple(record["answers"])) for record in self.saved.records]
            batch = with_probes(
                batch,
                tasks,
                self.data.format,
                module.tokenizer,
                template=self.data.environment.answer_template,
                aliases=self.data.answer_aliases,
                pad_id=int(module.tokenizer.pad_token_id or 0),
            )
        return fill(
            batch,
            signals,
            module.network,
            module.reference,
            temperature=module.temperature,
            max_tokens=module.max_tokens,
        )

    def cosines(self, opinions: Sequence[Opinion]) -> dict[tuple[str, str], float]:
        """Cosine between the gradients of the run's loss under each pair of opinions, ratios at 1."""
        gradients = {opinion.label: self._gradient(opinion.batch) for opinion in opinions}
        return {
            (a, b): float(torch.nn.functional.cosine_similarity(gradients[a], gradients[b], dim=0))
            for a, b in combinations(gradients, 2)
        }

    def _gradient(self, batch: RolloutBatch) -> Tensor:
        module = self.module
        limit = module.aggregation_constant or self.data.collector.limits.longest
        ((weighed,),) = weigh(
            [[replace(batch, old_logprobs=None)]],
            module.aggregation,
            limit,
            lambda counts: counts,  # of one process
            divisor=module.aggregation_rows,
            drop_idle=module.drops_idle,
        )
        parameters = [parameter for parameter in module.network.parameters() if parameter.requires_grad]
        logprobs = score(module.network, weighed, temperature=module.temperature, max_tokens=module.max_tokens).logprobs
        losses, _ = module.objective(logprobs, weighed)
        assert weighed.loss_weights is not None
        found = torch.autograd.grad((losses * weighed.loss_weights).sum(), parameters, allow_unused=True)
        whole = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]
        return torch.cat([gradient.flatten().float() for gradient in whole])


def _built(config: Mapping[str, Any]) -> tuple[AgentRLModule, AgentRLDataModule]:
    """Module and data module of a resolved configuration."""
    parser = LightningArgumentParser()
    parser.add_lightning_class_args(AgentRLModule, "model")
    parser.add_lightning_class_args(AgentRLDataModule, "data")
    built = parser.instantiate_classes(parser.parse_object({part: config[part] for part in ("model", "data")}))
    return built["model"], built["data"]
