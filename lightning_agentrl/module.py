"""The learner: a policy, a credit assigner, a loss, and Lightning's own optimizer loop around them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from lightning_agentrl.credit.apply import apply_credit
from lightning_agentrl.credit.base import CreditAssigner, ReduceOp
from lightning_agentrl.credit.grpo import GRPO
from lightning_agentrl.losses.base import Aggregation, Divisor, PolicyLoss
from lightning_agentrl.losses.checks import INERT, check_aggregation, check_clip_scale
from lightning_agentrl.losses.clipped import ClippedLoss
from lightning_agentrl.losses.correction import ImportanceCorrection
from lightning_agentrl.losses.kl import KLEstimator
from lightning_agentrl.losses.objective import Objective, scalars
from lightning_agentrl.losses.weighing import weigh
from lightning_agentrl.policy import MIXED, Dtype, Lora, PolicySpec
from lightning_agentrl.policy.lora import check_same_weights, plain_weights, save_adapter
from lightning_agentrl.policy.memory import holdings
from lightning_agentrl.policy.reference import Reference
from lightning_agentrl.rollout.statistics import TOTALS, over_ranks, validation_means
from lightning_agentrl.scoring import score
from lightning_agentrl.scoring.ranks import share_out, whole
from lightning_agentrl.scoring.signals import fill
from lightning_agentrl.strategies import FSDP2Strategy, averaged_over, keeps_buckets
from lightning_agentrl.types import Holding, RolloutBatch, Signal

if TYPE_CHECKING:
    from lightning.pytorch.utilities.types import OptimizerLRScheduler
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


class AgentRLModule(LightningModule):
    """Trains a causal language model on rollouts. Implements `types.Learner`.

    Args:
        policy: Hugging Face folder or hub id; ``tiny`` lets the command line build and warm-start a tiny policy.
        credit: who earned the reward.
        loss: what to do about it.
        optimizer: called with the policy's parameters.
        lr_scheduler: called with the optimizer, stepped once per epoch; none keeps the learning rate.
        aggregation: how token losses become one number; see `losses.base.aggregate`.
        aggregation_constant: the divisor L of ``aggregation: constant``, in tokens; none divides by the most that a
            trajectory may say.
        aggregation_rows: what sequence-mean and constant average over: rows with a trained token, or all of them,
            branches that only lend their rewards included (APPO's 1/M).
        kl_coefficient: weight of the KL to the policy at the start of the run, at least 0; at 0 no reference is loaded.
        kl_estimator: of that KL; see `losses.kl.kl_estimate` for value and gradient of each.
        correction: weights for the mismatch between engine and trainer; none leaves it alone.
        temperature: of rollouts, scores and entropies alike; greater than 0.
        dtype: of the policy's weights.
        lora: train low-rank adapters on frozen weights; none trains the weights themselves.
        float32_head: compute logits in float32, here and in the engine, whatever the rest computes in.
        gradient_checkpointing: recompute activations in the backward: less memory, more time.
        max_tokens: most tokens of one forward; more take several, and a prompt's tree is split where it must be.
    """

    def __init__(
        self,
        policy: str = "tiny",
        credit: CreditAssigner = GRPO(),  # noqa: B008 - frozen
        loss: PolicyLoss = ClippedLoss(),  # noqa: B008 - frozen
        optimizer: OptimizerCallable = torch.optim.AdamW,
        lr_scheduler: LRSchedulerCallable | None = None,
        aggregation: Aggregation = "token-mean",
        aggregation_constant: float | None = None,
        aggregation_rows: Divisor = "trained",
        kl_coefficient: float = 0.0,
        kl_estimator: KLEstimator = "k3",
        correction: ImportanceCorrection | None = None,
        temperature: float = 1.0,
        dtype: Dtype = "float32",
        lora: Lora | None = None,
        float32_head: bool = False,
        gradient_checkpointing: bool = False,
        max_tokens: int = 16384,
    ) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(
                f"model.temperature must be greater than 0, got {temperature}; validation is greedy anyway."
            )
        check_aggregation(aggregation, aggregation_constant, aggregation_rows)
        check_clip_scale(type(credit).__name__, credit.scales_clip, loss)
        self._reference = Reference()
        self.spec = PolicySpec(policy, dtype, lora, gradient_checkpointing, float32_head)
        self.strict_loading = lora is None  # a checkpoint of adapters lacks the frozen weights; see on_load_checkpoint
        self.credit = credit
        self.objective = Objective(loss, correction, kl_coefficient, kl_estimator)
        self.aggregation = aggregation
        self.aggregation_constant = aggregation_constant
        self.aggregation_rows = aggregation_rows
        self.max_tokens = max_tokens
        self.policy: PreTrainedModel | None = None
        self.temperature = temperature
        self.requires = credit.requires | self.objective.requires
        self.reads, self.trains_branches = credit.reads, credit.trains_branches
        self.drops_idle = not kl_coefficient  # a KL moves rows without credit; nothing else does
        self.float32_head = float32_head
        self.adapter_rank = lora.r if lora is not None and lora.sync == "adapter" else None
        self._optimizer = optimizer
        self._lr_scheduler = lr_scheduler
        self._recorded: dict[str, float] = {}
        self._update_start = self._updating = 0.0

    # --- what the DataModule asks (types.Learner) ---------------------------------------------------------------

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The policy's tokenizer."""
        return self.spec.tokenizer

    @property
    def policy_config(self) -> PretrainedConfig:
        """The policy's architecture, without dropout."""
        return self.spec.config

    @property
    def policy_dtype(self) -> torch.dtype:
        """What the policy computes in: autocast's type under mixed precision, else that of its weights."""
        return MIXED.get(str(self.trainer.precision)) or getattr(torch, self.spec.dtype)

    @property
    def policy_size(self) -> int:
        """Bytes of all weights in `policy_dtype`."""
        return self.spec.parameters * self.policy_dtype.itemsize

    @property
    def policy_version(self) -> int:
        """Number of optimizer steps behind the weights."""
        return self.global_step

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """What the engine holds: the policy, adapters merged in unless they go there alone.

        Where ranks hold a part each, they gather one tensor at a time, so every rank has to ask for all of them.
        """
        yield from plain_weights(self.network, merge=self.adapter_rank is None)

    def save_adapter(self, folder: Path) -> None:
        """Write the present adapters as peft and vLLM read them."""
        save_adapter(self.network.state_dict(), self.spec.adapter_config(), folder)

    def holdings(self, device: torch.device, training: bool) -> list[Holding]:
        """What the trainer's side of a rank will hold on the device."""
        mixed, optimizer = str(self.trainer.precision) in MIXED, self._optimizer if training else None
        reference = bool(training and self.objective.kl_coefficient)
        strategy, parts, slices = self.trainer.strategy, 1, 1
        if isinstance(strategy, FSDP2Strategy):
            if self.spec.lora is not None:
                strategy.check_adapters(quantized=self.spec.lora.quantize is not None)
            parts, slices = self.trainer.world_size, strategy.tensor_parallel_size
        buckets = keeps_buckets(strategy)
        return holdings(self.spec, optimizer, device, mixed, reference, self.max_tokens, parts, buckets, slices)

    def score(self, batch: RolloutBatch, signals: Signal, temperature: float | None = None) -> RolloutBatch:
        """Fill in what ``signals`` asks for beyond what came with the rollouts."""
        # Lightning opens no autocast outside the step hooks, and scores must match the training forward.
        with self.trainer.precision_plugin.forward_context():
            filled = fill(
                batch.to(self.device),
                signals,
                self.network,
                self.reference,
                temperature=temperature or self.temperature,
                max_tokens=self.max_tokens,
            )
        return filled.to(batch.input_ids.device)

    def assign(self, batch: RolloutBatch) -> RolloutBatch:
        """Ask the credit assigner, and log what can be said of its answer."""
        batch, metrics = apply_credit(self.credit, batch, self._all_reduce)
        self.record(metrics)
        return batch

    def weigh(self, steps: Sequence[Sequence[RolloutBatch]], longest: int) -> list[list[RolloutBatch]]:
        """Write ``loss_weights``, which sum to 1 over a step and all ranks."""
        return weigh(
            steps,
            self.aggregation,
            self.aggregation_constant or longest,
            self._all_reduce,
            divisor=self.aggregation_rows,
            drop_idle=self.drops_idle,
        )

    def record(self, metrics: Mapping[str, float]) -> None:
        """Keep numbers until the next hook in which Lightning logs."""
        self._recorded.update(metrics)

    # --- Lightning ----------------------------------------------------------------------------------------------

    def configure_model(self) -> None:
        """Load the policy, once, on every rank."""
        if self.policy is None:
            self.policy = share_out(self.spec.load(), self.device_mesh)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer over the policy's trainable parameters."""
        optimizer = self._optimizer([p for p in self.network.parameters() if p.requires_grad])
        if str(self.trainer.precision) == "bf16-mixed":  # Lightning clips no fused optimizer, for fear of a scaler
            optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]
        if self._lr_scheduler is None:
            return optimizer
        scheduler = self._lr_scheduler(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "epoch"}}

    def on_train_start(self) -> None:
        """Say so when a clipping loss cannot clip."""
        if self.objective.loss.clips and int(self.trainer.num_training_batches) <= self.trainer.accumulate_grad_batches:
            self.print(INERT)

    def on_train_batch_start(self, batch: RolloutBatch, batch_idx: int) -> None:
        """The first micro-batch of a stage of the collection brings the numbers of that stage."""
        if self._recorded:
            self._log_recorded()
        if batch_idx == 0:
            self._updating = 0.0
        self._update_start = time.perf_counter()

    def on_train_batch_end(self, outputs: Any, batch: RolloutBatch, batch_idx: int) -> None:
        """Branches may be drawn between micro-batches, so the update is what lies inside of them."""
        self._updating += time.perf_counter() - self._update_start
        if self.trainer.is_last_batch:
            self._log_epoch("time/update", self._updating)

    def training_step(self, batch: RolloutBatch, batch_idx: int) -> Tensor:
        """Σ token loss · weight, scaled so that Lightning's own averaging gives exactly the sum."""
        logprobs, _, _, load = score(self.network, batch, temperature=self.temperature, max_tokens=self.max_tokens)
        token_losses, metrics = self.objective(logprobs, batch)
        assert batch.loss_weights is not None
        loss = (token_losses * batch.loss_weights).sum() + logprobs.sum() * 0
        # Lightning divides by the number of accumulated micro-batches, and strategies average over ranks.
        accumulated = self.trainer.accumulate_grad_batches
        for name, value, weight, reduce in scalars(metrics, batch.trainable, load):
            self._log_epoch(name, value, batch_size=weight, reduce_fx=reduce)
        self._log_epoch("policy/loss", loss.detach() * accumulated * self.trainer.world_size)
        return loss * accumulated * averaged_over(self.trainer)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Log the gradient's norm before clipping."""
        grads = [p.grad for p in self.network.parameters() if p.grad is not None]
        self._log_epoch("policy/grad_norm", whole(torch.nn.utils.get_total_norm(grads)))

    def validation_step(self, batch: RolloutBatch, batch_idx: int) -> None:
        """Log means over the rollouts; success is an outcome of 1, the most an environment gives."""
        for name, values in validation_means(batch).items():
            self._log_epoch(f"val/{name}", values.mean(), batch_size=len(batch))

    def on_validation_epoch_end(self) -> None:
        """Log what was recorded about the validation rollouts."""
        self._log_recorded()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Let a checkpoint say what it was trained with; with LoRA it holds the adapters alone."""
        said = {"credit": repr(self.credit), "loss": repr(self.objective.loss)}
        checkpoint["agentrl"] = self.spec.description | said
        checkpoint["state_dict"] = self.spec.trained(checkpoint["state_dict"])

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse the checkpoint of another kind of policy, before Lightning leaves out what does not fit."""
        if "state_dict" in checkpoint:  # shards are read, and checked, by the strategy
            check_same_weights(checkpoint["state_dict"], self.spec.trained(self.state_dict()))

    # --- helpers ------------------------------------------------------------------------------------------------

    @property
    def network(self) -> PreTrainedModel:
        """The policy, once it is loaded."""
        if self.policy is None:
            raise RuntimeError("The policy is not loaded yet; Lightning loads it in configure_model.")
        return self.policy

    def reference(self) -> AbstractContextManager[PreTrainedModel]:
        """A block with the policy as the run started from it."""
        return self._reference.of(self.spec, self.network, self.device_mesh)

    def _all_reduce(self, tensor: Tensor, op: ReduceOp = "sum") -> Tensor:
        reduced = self.trainer.strategy.reduce(tensor.to(self.device, copy=True), reduce_op=op)
        return reduced.to(tensor.device) if isinstance(reduced, Tensor) else tensor

    def _log_epoch(self, name: str, value: Tensor | float, batch_size: int = 1, reduce_fx: str = "mean") -> None:
        """One point per collection: an epoch is one, and a step is only a part of it."""
        self.log(name, value, on_step=False, on_epoch=True, batch_size=batch_size, reduce_fx=reduce_fx, sync_dist=True)

    def _log_recorded(self) -> None:
        for name, value in over_ranks(self._recorded).items():
            add = "sum" if name in TOTALS else "mean"  # a collection may report in stages
            self.log(name, value, on_step=False, on_epoch=True, batch_size=1, reduce_fx=add)
        self._recorded.clear()
