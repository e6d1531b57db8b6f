"""Settings that contradict each other, found before a model is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy, FSDPStrategy, ModelParallelStrategy, SingleDeviceStrategy
from lightning.pytorch.utilities import rank_zero_warn

from lightning_agentrl.engines.base import RolloutEngine
from lightning_agentrl.environments.base import Environment, Split
from lightning_agentrl.rollout.probes import check_template
from lightning_agentrl.strategies import FSDP2Strategy
from lightning_agentrl.types import Learner, Signal, Task


def at_least(least: int, name: str, value: int, why: str = "") -> int:
    """The value, unless it is too small."""
    if value < least:
        raise ValueError(f"data.{name} must be at least {least}, got {value}{'; ' + why if why else ''}.")
    return value


def check_sampling(top_p: float, top_k: int, min_p: float) -> None:
    """Refuse to cut the distribution that is sampled from."""
    if (top_p, max(top_k, 0), min_p) != (1.0, 0, 0.0):
        raise ValueError(
            f"Training needs the full distribution, got top_p={top_p}, top_k={top_k}, min_p={min_p}: the engine "
            f"would renormalize over the kept tokens and the trainer over all, which biases every ratio. "
            f"Use top_p=1, top_k=0, min_p=0 and model.temperature instead."
        )


def check_strategy(trainer: Trainer) -> None:
    """Refuse ways to share out the work under which scores or weights would be wrong, or ranks wait for ever."""
    strategy = trainer.strategy
    if isinstance(strategy, FSDPStrategy):
        raise ValueError(
            "trainer.strategy: FSDPStrategy (FSDP1) gathers weights in the forward that it wraps, and nowhere else: "
            "neither scoring nor the weight sync would see them. Use -c strategy/fsdp2, which also runs on CPUs."
        )
    if isinstance(strategy, ModelParallelStrategy) and not isinstance(strategy, FSDP2Strategy):
        raise ValueError(
            "trainer.strategy: Lightning's ModelParallelStrategy cannot resume what another strategy has saved. Use "
            "FSDP2Strategy, which is one that can: -c strategy/fsdp2, or -c strategy/fsdp2_tp for tensor parallelism."
        )
    in_process = isinstance(strategy, DDPStrategy) and strategy._start_method != "popen"
    # Exactly these: DeepSpeed's strategy, for one, is a DDPStrategy by inheritance, and leaves weights empty.
    if in_process or type(strategy) not in (SingleDeviceStrategy, DDPStrategy, FSDP2Strategy):
        raise ValueError(
            f"trainer.strategy: {type(strategy).__name__}{' in forked processes' if in_process else ''} has not been "
            f"seen to train like a single rank does. Use auto, -c strategy/ddp or -c strategy/fsdp2."
        )


def check_checkpoint(trainer: Trainer, path: str | None) -> None:
    """A checkpoint in parts is read by the strategy that wrote it."""
    if path is not None and Path(path).is_dir() and not isinstance(trainer.strategy, FSDP2Strategy):
        raise ValueError(
            f"--ckpt_path {path} is a folder with a part per rank, which -c strategy/fsdp2 alone reads. Or let agentrl "
            f"export make a Hugging Face folder of it, and name that in --model.policy."
        )


def check_ranks(trainer: Trainer, prompts_per_epoch: int, tasks: dict[Split, list[Task]]) -> None:
    """Every rank needs tasks, and equally many prompts."""
    check_strategy(trainer)
    for split, found in tasks.items():
        if len(found) < trainer.world_size:
            raise ValueError(f"The environment has {len(found)} {split} tasks for {trainer.world_size} ranks.")
    if prompts_per_epoch % trainer.world_size:
        raise ValueError(
            f"data.prompts_per_epoch must be a multiple of the number of ranks, got {prompts_per_epoch} "
            f"prompts for {trainer.world_size} ranks."
        )


def check_precision(trainer: Trainer, learner: Learner, engine: RolloutEngine) -> None:
    """Half precision of everything would hand the loss rounded masks and weights, and lose small updates.

    And the engine must compute in what the trainer computes in.
    """
    if str(trainer.precision) in ("bf16-true", "16-true"):
        raise ValueError(
            f"trainer.precision={trainer.precision} rounds the weights themselves, and steps of 1e-6 vanish in them. "
            f"Use bf16-mixed. To hold the weights in 16 bits as well, set model.dtype=bfloat16: loss, masks and, with "
            f"model.lora, the adapters then stay in float32."
        )
    engine.check(learner.policy_dtype, learner.adapter_rank)


def check_limit(trainer: Trainer, steps: int) -> None:
    """A collection is trained whole."""
    micro_batches = steps * trainer.accumulate_grad_batches
    limit = trainer.limit_train_batches
    debugging = trainer.fast_dev_run  # type: ignore[attr-defined]
    if not debugging and (limit < micro_batches if isinstance(limit, int) else limit < 1):
        raise ValueError(
            f"A collection is trained whole, in {micro_batches} micro-batches; got "
            f"trainer.limit_train_batches={limit}. Lower data.prompts_per_epoch or data.group_size instead."
        )


def check_validation(validation: float, rollout: float, samples: int) -> None:
    """The engine scores at one temperature."""
    if validation not in (0.0, rollout):
        raise ValueError(
            f"data.validation_temperature must be 0 (greedy) or the rollout temperature {rollout}, which the "
            f"engine was started with; got {validation}."
        )
    if validation == 0 and samples > 1:
        rank_zero_warn("Greedy validation repeats the same trajectory data.validation_samples times.")


def check_signals(environment: Environment, tasks: Sequence[Task], wanted: Signal, read: Signal) -> None:
    """Refuse what the credit assigner could not use, or cannot get.

    Args:
        environment: that is asked.
        tasks: of training.
        wanted: signals without which the run makes no sense.
        read: signals that are used where there are any.
    """
    if environment.gives_turn_rewards is False and Signal.TURN_REWARDS in wanted:
        raise ValueError(
            "The chosen credit assigner compares rewards of turns, and the environment gives none. Set "
            "data.environment.init_args.turn_reward (algorithm/mt_grpo does), or choose an assigner of outcomes."
        )
    if environment.gives_turn_rewards and Signal.TURN_REWARDS not in wanted | read:
        raise ValueError(
            "The environment gives rewards or penalties to turns, which the chosen credit assigner does not read. "
            "Choose MTGRPO or GiGPO, or set turn_reward and the penalty of invalid calls or actions to 0."
        )
    if Signal.ANSWER_LOGPROBS in wanted:
        check_template(environment.answer_template)
        if not any(task.answers for task in tasks):
            raise ValueError(
                "Information gain needs a ground truth, and no training task has answers. Give the tasks answers, "
                "or choose an assigner that compares outcomes."
            )
