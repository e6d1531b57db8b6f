"""Online rollouts as a LightningDataModule: one Lightning epoch is one collection."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch.utils.data import DataLoader, IterableDataset

from lightning_agentrl.branching.base import Branching
from lightning_agentrl.branching.independent import Independent
from lightning_agentrl.engines.base import RolloutEngine
from lightning_agentrl.environments.base import Environment, Split
from lightning_agentrl.formats.base import ChatFormat
from lightning_agentrl.rollout import bundle
from lightning_agentrl.rollout.collate import collate
from lightning_agentrl.rollout.collector import Collection, Collector, Place
from lightning_agentrl.rollout.minibatch import cut
from lightning_agentrl.rollout.phases import PhaseClock
from lightning_agentrl.rollout.sampler import Job, Limits, stable_seed
from lightning_agentrl.rollout.statistics import stop_shares, success_by, summarize
from lightning_agentrl.types import Learner, RolloutBatch, Signal, Task


class AgentRLDataModule(LightningDataModule):
    """Collects rollouts with tool calls each epoch and cuts them into micro-batches.

    Args:
        environment: tasks, tools and verdicts.
        engine: samples from a copy of the policy.
        format: chat messages and tool calls as tokens.
        branching: where rollouts of one prompt part.
        prompts_per_epoch: prompts per collection, over all ranks.
        group_size: trajectories per prompt, G.
        ppo_epochs: passes over a collection.
        minibatches: optimizer steps per pass.
        max_turns: turns per trajectory.
        max_turn_tokens: tokens the policy may say in one turn.
        max_model_len: tokens of prompt, actions and observations together.
        validation_samples: trajectories per validation task.
        validation_temperature: 0 is greedy; otherwise it must equal the rollout temperature.
        success_by: key of the tasks' meta data by which validation success is also reported.
        parity_tolerance: largest |log-prob of the engine − of the trainer| after a weight sync, in nats; None means
            1e-4 in float32 and 0.3 in 16-bit types, 0 switches the check off.
        save_rollouts_every: save every n-th collection below the log folder; 0 saves none.
        seed: of prompt order and of every request.
        top_p: only 1 is accepted, because the trainer's log-probs are over the full vocabulary.
        top_k: only 0 (off) is accepted, for the same reason.
        min_p: only 0 (off) is accepted, for the same reason.
    """

    def __init__(
        self,
        environment: Environment,
        engine: RolloutEngine,
        format: ChatFormat,
        branching: Branching = Independent(),  # noqa: B008 - frozen
        prompts_per_epoch: int = 16,
        group_size: int = 8,
        ppo_epochs: int = 1,
        minibatches: int = 1,
        max_turns: int = 6,
        max_turn_tokens: int = 64,
        max_model_len: int = 1024,
        validation_samples: int = 1,
        validation_temperature: float = 0.0,
        success_by: str = "hops",
        parity_tolerance: float | None = None,
        save_rollouts_every: int = 0,
        seed: int = 0,
        top_p: float = 1.0,
        top_k: int = 0,
        min_p: float = 0.0,
    ) -> None:
        super().__init__()
        limits = Limits(max_turns, max_turn_tokens, max_model_len)
        self.collector = Collector(engine, environment, format, branching, limits, parity_tolerance)
        self.environment = environment
        self.format = format
        self.branching = branching
        self.prompts_per_epoch = _at_least(1, "prompts_per_epoch", prompts_per_epoch)
        self.group_size = _at_least(2, "group_size", group_size, "a group baseline compares siblings")
        self.ppo_epochs = _at_least(1, "ppo_epochs", ppo_epochs)
        self.minibatches = _at_least(1, "minibatches", minibatches)
        self.validation_samples = _at_least(1, "validation_samples", validation_samples)
        self.validation_temperature = validation_temperature
        self.success_by = success_by
        self.save_rollouts_every = _at_least(0, "save_rollouts_every", save_rollouts_every)
        self.seed = seed
        if (top_p, max(top_k, 0), min_p) != (1.0, 0, 0.0):
            raise ValueError(
                f"Training needs the full distribution, got top_p={top_p}, top_k={top_k}, min_p={min_p}: the engine "
                f"would renormalize over the kept tokens and the trainer over all, which biases every ratio. "
                f"Use top_p=1, top_k=0, min_p=0 and model.temperature instead."
            )
        self.last: dict[Split, Collection] = {}
        self._tasks: dict[Split, list[Task]] = {}

    # --- Lightning ----------------------------------------------------------------------------------------------

    def prepare_data(self) -> None:
        """Let the environment make its data, on one process of a machine."""
        self.environment.prepare()

    def setup(self, stage: str) -> None:
        """Read the tasks, so that bad data stops the run before a model is loaded."""
        trainer = self._trainer
        splits: tuple[Split, ...] = ("train", "validation") if stage == "fit" else ("validation",)
        for split in splits:
            self._tasks[split] = list(self.environment.tasks(split))
            if len(self._tasks[split]) < trainer.world_size:
                raise ValueError(
                    f"The environment has {len(self._tasks[split])} {split} tasks for {trainer.world_size} ranks."
                )
        if self.prompts_per_epoch % trainer.world_size:
            raise ValueError(
                f"data.prompts_per_epoch must be a multiple of the number of ranks, got {self.prompts_per_epoch} "
                f"prompts for {trainer.world_size} ranks."
            )
        micro_batches = self.ppo_epochs * self.minibatches * trainer.accumulate_grad_batches
        limit = trainer.limit_train_batches
        debugging = trainer.fast_dev_run  # type: ignore[attr-defined]
        if not debugging and (limit < micro_batches if isinstance(limit, int) else limit < 1):
            raise ValueError(
                f"A collection is trained whole, in {micro_batches} micro-batches; got "
                f"trainer.limit_train_batches={limit}. Lower data.prompts_per_epoch or data.group_size instead."
            )
        temperature = self._learner.temperature
        if self.validation_temperature not in (0.0, temperature):
            raise ValueError(
                f"data.validation_temperature must be 0 (greedy) or the rollout temperature {temperature}, which the "
                f"engine was started with; got {self.validation_temperature}."
            )
        if self.validation_temperature == 0 and self.validation_samples > 1:
            rank_zero_warn("Greedy validation repeats the same trajectory data.validation_samples times.")
        self.collector.prepare(self._learner.tokenizer, [task for split in splits for task in self._tasks[split]])

    def train_dataloader(self) -> DataLoader[RolloutBatch]:
        """Sized and lazy: the length comes from the configuration, the rollouts from the first `next`."""
        steps = self.ppo_epochs * self.minibatches
        return self._loader(self._train, steps * self._trainer.accumulate_grad_batches)

    def val_dataloader(self) -> DataLoader[RolloutBatch]:
        """All validation tasks of this rank, as one batch."""
        return self._loader(self._validate, 1)

    def teardown(self, stage: str) -> None:
        """Free the engine."""
        self.close()

    def on_exception(self, exception: BaseException) -> None:
        """Free the engine: after a crash Lightning does not call `teardown`."""
        self.close()

    def close(self) -> None:
        """Free engine and event loop; a later collection starts them again."""
        self.collector.close()

    @property
    def clock(self) -> PhaseClock:
        """Tells listeners which phase a collection is in."""
        return self.collector.clock

    # --- a collection -------------------------------------------------------------------------------------------

    def _train(self) -> Iterator[RolloutBatch]:
        learner, trainer, clock = self._learner, self._trainer, self.clock
        epoch = trainer.current_epoch
        self._sync()
        jobs = self._jobs(epoch)
        trajectories = self.collector.roll_out(
            jobs, learner, temperature=learner.temperature, seed=self.seed, epoch=epoch
        )
        batch = collate(trajectories, self._pad_id)
        signals = learner.requires | self.branching.requires
        if self.ppo_epochs * self.minibatches > 1:
            signals |= Signal.OLD_LOGPROBS
        with clock.phase("score"):
            batch = learner.assign(learner.score(batch, signals))
            steps = cut(
                batch,
                ppo_epochs=self.ppo_epochs,
                minibatches=self.minibatches,
                accumulate=trainer.accumulate_grad_batches,
                rng=random.Random(stable_seed(self.seed, epoch, trainer.global_rank)),
            )
            steps = learner.weigh(steps)
        self.last["train"] = Collection("train", epoch, learner.policy_version, trajectories, batch)
        self._save_bundle(self.last["train"])
        seconds = clock.take()
        numbers = summarize(trajectories)
        rate = numbers["rollout/generated_tokens"] / max(seconds["rollout"], 1e-9)
        times = {f"time/{name}": value for name, value in seconds.items()}
        learner.record({**numbers, **times, "rollout/tokens_per_second": rate})
        clock.tell("update")
        # Lightning knows the length and does not ask for more, so nothing may come after the last batch.
        for step in steps:
            yield from step

    def _validate(self) -> Iterator[RolloutBatch]:
        trainer, learner = self._trainer, self._learner
        self._sync()
        mine = list(enumerate(self._tasks["validation"]))[trainer.global_rank :: trainer.world_size]
        jobs = [Job(task, group, self.validation_samples) for group, task in mine]
        trajectories = self.collector.roll_out(
            jobs, learner, temperature=self.validation_temperature, seed=self.seed, epoch=-1
        )
        batch = collate(trajectories, self._pad_id)
        self.last["validation"] = Collection(
            "validation", trainer.current_epoch, learner.policy_version, trajectories, batch
        )
        by = {f"val/success_{self.success_by}_{k}": v for k, v in success_by(trajectories, self.success_by).items()}
        stops = {f"val/stop_{reason}": share for reason, share in stop_shares(trajectories).items()}
        learner.record({**by, **stops, "val/seconds": sum(self.clock.take().values())})
        yield batch

    def _jobs(self, epoch: int) -> list[Job]:
        """This rank's prompts of an epoch; their order depends on seed and epoch only, so a resumed run keeps it."""
        tasks = self._tasks["train"]
        first = epoch * self.prompts_per_epoch
        numbers = range(first, first + self.prompts_per_epoch)[self._trainer.global_rank :: self._trainer.world_size]
        orders: dict[int, list[int]] = {}
        jobs = []
        for number in numbers:
            lap, place = divmod(number, len(tasks))
            if lap not in orders:
                orders[lap] = random.Random(stable_seed(self.seed, lap)).sample(range(len(tasks)), len(tasks))
            jobs.append(Job(tasks[orders[lap][place]], number, self.group_size))
        return jobs

    def _sync(self) -> None:
        trainer = self._trainer
        self.collector.sync(self._learner, Place(trainer.strategy.root_device, trainer.world_size))

    # --- helpers ------------------------------------------------------------------------------------------------

    def _save_bundle(self, last: Collection) -> None:
        every = self.save_rollouts_every
        if not every or last.epoch % every or not self._trainer.is_global_zero:
            return
        folder = Path(self._trainer.log_dir or self._trainer.default_root_dir) / "rollouts" / f"epoch-{last.epoch:04d}"
        info = {"epoch": last.epoch, "policy_version": last.policy_version, "seed": self.seed}
        bundle.save(folder, last.trajectories, last.batch, self._learner.tokenizer, info)

    @property
    def _trainer(self) -> Trainer:
        if self.trainer is None:
            raise RuntimeError("The data module needs a Trainer; pass it to trainer.fit or trainer.validate.")
        return self.trainer

    @property
    def _learner(self) -> Learner:
        return cast(Learner, self._trainer.lightning_module)

    @property
    def _pad_id(self) -> int:
        return int(self._learner.tokenizer.pad_token_id or 0)

    @staticmethod
    def _loader(source: Callable[[], Iterator[RolloutBatch]], length: int) -> DataLoader[RolloutBatch]:
        # Workers would collect in another process, without the engine.
        return DataLoader(_Sized(source, length), batch_size=None, num_workers=0)


class _Sized(IterableDataset[RolloutBatch]):
    def __init__(self, source: Callable[[], Iterator[RolloutBatch]], length: int) -> None:
        self.source = source
        self.length = length

    def __iter__(self) -> Iterator[RolloutBatch]:
        return self.source()

    def __len__(self) -> int:
        return self.length


def _at_least(least: int, name: str, value: int, why: str = "") -> int:
    if value < least:
        raise ValueError(f"data.{name} must be at least {least}, got {value}{'; ' + why if why else ''}.")
    return value
