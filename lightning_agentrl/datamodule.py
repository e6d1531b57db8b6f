"""Online rollouts as a LightningDataModule: one Lightning epoch is one collection."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import cast

from lightning.pytorch import LightningDataModule, Trainer
from torch.utils.data import DataLoader

from lightning_agentrl.branching.base import Branching
from lightning_agentrl.branching.independent import Independent
from lightning_agentrl.engines.base import RolloutEngine
from lightning_agentrl.environments.base import Environment, Split
from lightning_agentrl.formats.base import ChatFormat
from lightning_agentrl.rollout import checks
from lightning_agentrl.rollout.collate import collate
from lightning_agentrl.rollout.collection import Collection
from lightning_agentrl.rollout.collector import Collector, Place
from lightning_agentrl.rollout.critical_path import waited
from lightning_agentrl.rollout.dynamic_sampling import DynamicSampling, Sampled, refill
from lightning_agentrl.rollout.jobs import Job, Limits, stable_seed
from lightning_agentrl.rollout.loader import sized_loader
from lightning_agentrl.rollout.memory import check_memory
from lightning_agentrl.rollout.minibatch import cut
from lightning_agentrl.rollout.phases import PhaseClock
from lightning_agentrl.rollout.preparation import Preparation, Prepared, joined_up
from lightning_agentrl.rollout.probes import Aliases
from lightning_agentrl.rollout.prompts import PromptOrder
from lightning_agentrl.rollout.second_wave import second_wave
from lightning_agentrl.rollout.shaping import Overlong, Shaping, Truncated
from lightning_agentrl.rollout.stages import check_branching, check_schedule, check_start, post_hoc, stages
from lightning_agentrl.rollout.statistics import collected, validated
from lightning_agentrl.types import Learner, RolloutBatch, Signal, Task, Trajectory


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
        dynamic_sampling: replace groups whose outcomes are all equal by others (DAPO); none keeps every group.
        truncated: rollouts that a limit cut are trained like others (keep), left out of the loss (mask) or lose
            ``truncated_penalty`` from their reward (penalize).
        truncated_penalty: what a truncated rollout loses with ``truncated: penalize``; at least 0.
        overlong: soft penalty of long rollouts (DAPO); none gives none.
        answer_aliases: information gain scores every accepted answer and takes the likeliest (max), or the first alone.
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
        dynamic_sampling: DynamicSampling | None = None,
        truncated: Truncated = "keep",
        truncated_penalty: float | None = None,
        overlong: Overlong | None = None,
        answer_aliases: Aliases = "max",
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
        self.prompts_per_epoch = checks.at_least(1, "prompts_per_epoch", prompts_per_epoch)
        self.group_size = checks.at_least(2, "group_size", group_size, "a group baseline compares siblings")
        self.ppo_epochs = checks.at_least(1, "ppo_epochs", ppo_epochs)
        self.minibatches = checks.at_least(1, "minibatches", minibatches)
        self.validation_samples = checks.at_least(1, "validation_samples", validation_samples)
        self.validation_temperature = validation_temperature
        self.success_by = success_by
        self.dynamic_sampling = dynamic_sampling
        self.shaping = Shaping(truncated, truncated_penalty, overlong and overlong.within(limits.longest))
        self.answer_aliases: Aliases = answer_aliases
        self.seed = seed
        checks.check_sampling(top_p, top_k, min_p)
        self.last: dict[Split, Collection] = {}
        self.wanted = Signal.NONE
        self._tasks: dict[Split, list[Task]] = {}

    # --- Lightning ----------------------------------------------------------------------------------------------

    def prepare_data(self) -> None:
        """Let the environment make its data, on one process of a machine."""
        self.environment.prepare()

    def setup(self, stage: str) -> None:
        """Read the tasks, so that bad data stops the run before a model is loaded."""
        self.check(self._trainer, self._learner, stage)
        self.collector.prepare(self._learner.tokenizer, [task for tasks in self._tasks.values() for task in tasks])
        check_memory(self._learner, self.collector.engine, self._trainer, training=stage == "fit")

    def check(self, trainer: Trainer, learner: Learner, stage: str) -> None:
        """See that tasks, settings and learner fit one another; the environment must be prepared.

        Raises:
            ValueError: where they do not.
        """
        checks.check_precision(trainer, learner, self.collector.engine)
        splits: tuple[Split, ...] = ("train", "validation") if stage == "fit" else ("validation",)
        self._tasks = {split: list(self.environment.tasks(split)) for split in splits}
        checks.check_ranks(trainer, self.prompts_per_epoch, self._tasks)
        checks.check_limit(trainer, self.ppo_epochs * self.minibatches)
        checks.check_validation(self.validation_temperature, learner.temperature, self.validation_samples)
        if stage == "fit":
            check_branching(self.branching, self.group_size, self.collector.limits, self.dynamic_sampling is not None)
            check_schedule(
                self.branching, self.prompts_per_epoch // trainer.world_size, self.minibatches, self.ppo_epochs
            )
            checks.check_signals(
                self.environment, self._tasks["train"], learner.requires | self.branching.requires, learner.reads
            )

    def train_dataloader(self) -> DataLoader[RolloutBatch]:
        """Sized and lazy: the length comes from the configuration, the rollouts from the first `next`."""
        return sized_loader(self._train, self.ppo_epochs * self.minibatches * self._trainer.accumulate_grad_batches)

    def val_dataloader(self) -> DataLoader[RolloutBatch]:
        """All validation tasks of this rank, as one batch."""
        return sized_loader(self._validate, 1)

    def teardown(self, stage: str) -> None:
        """Free the engine."""
        self.close()

    def on_exception(self, exception: BaseException) -> None:
        """After a crash Lightning does not call `teardown`."""
        self.close()

    def close(self) -> None:
        """Free engine and event loop; a later collection starts them again."""
        self.collector.close()

    @property
    def clock(self) -> PhaseClock:
        """Of the phases of a collection."""
        return self.collector.clock

    # --- a collection -------------------------------------------------------------------------------------------

    def _train(self) -> Iterator[RolloutBatch]:
        learner, epoch = self._learner, self._trainer.current_epoch
        rng = random.Random(stable_seed(self.seed, epoch, self._trainer.global_rank))
        self._sync()
        sampled = self._sample(epoch)
        self.collector.rest()
        self.collector.failures.check(sampled.kept)
        prepare = self._preparation(sampled.weightless)
        with self.clock.phase("score"):
            roots = prepare(sampled.kept)
        rolled_out, done = [*sampled.sampled], list[Prepared]()
        plan = stages(self.branching.schedule, list(roots.groups), self.minibatches, rng)
        check_start(plan, self._trainer)
        self.collector.failures.check(plan if all(stage.groups for stage in plan) else [])
        for number, stage in enumerate(plan):
            part = roots.of(stage.groups) if len(plan) > 1 else roots
            if post_hoc(self.branching):
                part, new = second_wave(
                    part,
                    prepare,
                    self.collector,
                    budget=self.group_size,
                    seed=self.seed,
                    epoch=epoch,
                    rng=rng,
                    explores=stage.explores,
                    moved=number > 0,
                    wake=self._sync if number else self.collector.wake,
                )
                rolled_out += new
            with self.clock.phase("score"):
                part = replace(part, batch=learner.assign(part.batch))
                steps = cut(
                    prepare.trained(part.batch),
                    ppo_epochs=self.ppo_epochs,
                    minibatches=stage.steps,
                    accumulate=self._trainer.accumulate_grad_batches,
                    rng=rng,
                    drops_idle=learner.drops_idle,
                )
                steps = learner.weigh(steps, self.collector.limits.longest)
            done.append(part)
            if stage is plan[-1]:
                self._report(joined_up(done), epoch, rolled_out, dict(sampled.metrics))
            self.clock.tell("update")
            # Lightning knows the length and does not ask for more, so nothing may come after the last batch.
            for step in steps:
                yield from step

    def _report(
        self, done: Prepared, epoch: int, rolled_out: Sequence[Trajectory], metrics: Mapping[str, float]
    ) -> None:
        """Keep the collection for callbacks, and log what it was like."""
        learner = self._learner
        paths = self.collector.take_paths()
        self.last["train"] = Collection("train", epoch, learner.policy_version, done.trajectories, done.batch, paths)
        seconds, failures = self.clock.take(), self.collector.failures.take()
        numbers = collected(rolled_out, done.batch, seconds, failures, self._trainer.strategy.root_device)
        learner.record({**numbers, **waited(paths), **metrics})

    def _validate(self) -> Iterator[RolloutBatch]:
        trainer, learner = self._trainer, self._learner
        mine = list(enumerate(self._tasks["validation"]))[trainer.global_rank :: trainer.world_size]
        jobs = [Job(task, group, self.validation_samples) for group, task in mine]
        settings = {"temperature": self.validation_temperature, "seed": self.seed, "epoch": -1, "branch": False}
        with self.collector.apart():  # it may come in the middle of a collection
            self._sync()
            trajectories = self.collector.roll_out(jobs, learner, **settings)  # type: ignore[arg-type]
            self.collector.failures.check(trajectories)
            seconds = sum(self.clock.take().values())
            failures, paths = self.collector.failures.take(), self.collector.paths
        self.collector.rest()
        batch = collate(trajectories, int(learner.tokenizer.pad_token_id or 0))
        self.last["validation"] = Collection(
            "validation", trainer.current_epoch, learner.policy_version, trajectories, batch, paths
        )
        learner.record(validated(trajectories, self.success_by, failures, seconds, trainer.strategy.root_device))
        yield batch

    def _sample(self, epoch: int) -> Sampled:
        """Roll out this rank's prompts of an epoch."""
        trainer, learner = self._trainer, self._learner
        rank = (trainer.global_rank, trainer.world_size)
        order = PromptOrder(self._tasks["train"], self.prompts_per_epoch, self.group_size, self.seed, *rank)

        def roll_out(jobs: Sequence[Job]) -> list[Trajectory]:
            return self.collector.roll_out(jobs, learner, temperature=learner.temperature, seed=self.seed, epoch=epoch)

        return refill(self.dynamic_sampling, order.jobs(epoch), order.more(epoch), roll_out)

    def _preparation(self, weightless: frozenset[int]) -> Preparation:
        wanted, self.wanted = self.wanted, Signal.NONE
        return Preparation(
            learner=self._learner,
            branching=self.branching,
            chat_format=self.format,
            tokenizer=self._learner.tokenizer,
            limits=self.collector.limits,
            shaping=self.shaping,
            answer_template=self.environment.answer_template,
            aliases=self.answer_aliases,
            several_steps=self.ppo_epochs * self.minibatches > 1,
            weightless=weightless,
            wanted=wanted,
            several_ranks=self._trainer.world_size > 1,
        )

    def _sync(self) -> None:
        trainer = self._trainer
        self.collector.sync(self._learner, Place(trainer.strategy.root_device, trainer.world_size))

    @property
    def _trainer(self) -> Trainer:
        if self.trainer is None:
            raise RuntimeError("The data module needs a Trainer; pass it to trainer.fit or trainer.validate.")
        return self.trainer

    @property
    def _learner(self) -> Learner:
        return cast(Learner, self._trainer.lightning_module)
