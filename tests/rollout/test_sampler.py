"""The agent loop, token for token."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest
from transformers import PreTrainedTokenizerBase

from lightning_agentrl.branching.independent import Independent
from lightning_agentrl.engines.base import RolloutEngine, SamplingParams
from lightning_agentrl.environments.base import Environment, Episode
from lightning_agentrl.formats.hermes import HermesFormat
from lightning_agentrl.policy import load_tokenizer
from lightning_agentrl.rollout.collate import collate
from lightning_agentrl.rollout.jobs import Job, Limits
from lightning_agentrl.rollout.sampler import Sampler
from lightning_agentrl.testing import ScriptedEngine, ToyEnvironment, tiny_policy
from lightning_agentrl.types import StopReason, Task, Trajectory

FORMAT = HermesFormat()


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    return load_tokenizer(tiny_policy(tmp_path_factory.mktemp("policy")))


def sampler(
    tokenizer: PreTrainedTokenizerBase,
    engine: RolloutEngine,
    environment: Environment | None = None,
    limits: Limits | None = None,
) -> Sampler:
    return Sampler(
        engine, environment or ToyEnvironment(), FORMAT, Independent(), tokenizer, limits or Limits(4, 16, 200)
    )


def collect(rollouts: Sampler, jobs: list[Job] | None = None, temperature: float = 1.0) -> list[Trajectory]:
    tasks = rollouts.environment.tasks("train")
    jobs = jobs or [Job(tasks[0], 0, 1)]
    return asyncio.run(rollouts.collect(jobs, temperature=temperature, seed=3, epoch=1))


def says(tokenizer: PreTrainedTokenizerBase, text: str) -> Callable[[list[int], SamplingParams], list[int]]:
    return lambda ids, params: FORMAT.action(tokenizer, text)


def test_segments_concatenate_to_exactly_what_the_engine_saw(tokenizer: PreTrainedTokenizerBase) -> None:
    engine = ScriptedEngine(says(tokenizer, "a"))
    (trajectory,) = collect(sampler(tokenizer, engine, ToyEnvironment(turns=3)))
    assert len(trajectory.turns) == 3
    for number, prompt in enumerate(engine.prompts):
        end = len(trajectory.prompt) + sum(
            len(turn.action) + len(turn.observation or ()) for turn in trajectory.turns[:number]
        )
        assert trajectory.token_ids[:end] == prompt
    assert trajectory.token_ids == engine.prompts[-1] + FORMAT.action(tokenizer, "a")


def test_any_sampled_tokens_survive_unchanged(tokenizer: PreTrainedTokenizerBase) -> None:
    # Ids whose text would be tokenized differently: a decode and re-encode would be noticed.
    stop = FORMAT.stop_token_ids(tokenizer)[0]
    odd = [tokenizer.encode(letter, add_special_tokens=False)[0] for letter in "sayay"] + [stop]
    assert tokenizer.encode(tokenizer.decode(odd[:-1]), add_special_tokens=False) != odd[:-1]
    (trajectory,) = collect(sampler(tokenizer, ScriptedEngine(lambda ids, params: odd), ToyEnvironment(turns=2)))
    assert [list(turn.action.token_ids) for turn in trajectory.turns] == [odd, odd]


def test_the_answer_turn_has_no_observation_and_the_others_have(tokenizer: PreTrainedTokenizerBase) -> None:
    (trajectory,) = collect(sampler(tokenizer, ScriptedEngine(says(tokenizer, "a")), ToyEnvironment(turns=3)))
    assert trajectory.stop is StopReason.FINISHED
    assert [turn.observation is not None for turn in trajectory.turns] == [True, True, False]
    assert collate([trajectory]).process_mask.tolist() == [[True, True, False]]


def test_a_turn_that_is_too_long_is_cut_and_said_to_be(tokenizer: PreTrainedTokenizerBase) -> None:
    engine = ScriptedEngine(lambda ids, params: [40] * 50)
    (trajectory,) = collect(sampler(tokenizer, engine, limits=Limits(4, 16, 200)))
    assert trajectory.stop is StopReason.TURN_LENGTH
    assert len(trajectory.turns[0].action) == 16


def test_the_context_is_never_exceeded(tokenizer: PreTrainedTokenizerBase) -> None:
    engine = ScriptedEngine(says(tokenizer, "a"))
    prompt = len(sampler(tokenizer, engine).prompt(ToyEnvironment().tasks("train")[0]))
    action, seen = len(FORMAT.action(tokenizer, "a")), len(FORMAT.observation(tokenizer, ["go on"]))
    room = prompt + 2 * (action + seen)  # two whole turns fit, and not one token more
    (trajectory,) = collect(sampler(tokenizer, engine, ToyEnvironment(turns=9), Limits(9, 8, room)))
    assert trajectory.stop is StopReason.CONTEXT
    assert len(trajectory.token_ids) <= room
    assert all(len(ids) + params.max_tokens <= room for ids, params in zip(engine.prompts, engine.params, strict=True))


def test_the_last_turn_allowed_ends_the_trajectory(tokenizer: PreTrainedTokenizerBase) -> None:
    engine = ScriptedEngine(says(tokenizer, "a"))
    (trajectory,) = collect(sampler(tokenizer, engine, ToyEnvironment(turns=9), Limits(2, 16, 200)))
    assert trajectory.stop is StopReason.MAX_TURNS
    assert trajectory.stop.truncated
    assert len(trajectory.turns) == 2


def test_a_prompt_longer_than_the_context_is_refused_by_name(tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(ValueError, match=r"task '0' has \d+ tokens.*context of 9"):
        collect(sampler(tokenizer, ScriptedEngine(says(tokenizer, "a")), limits=Limits(2, 4, 9)))


def test_every_request_has_its_own_seed_and_reruns_repeat_it(tokenizer: PreTrainedTokenizerBase) -> None:
    def seeds(shift: int) -> list[int | None]:
        engine = ScriptedEngine(says(tokenizer, "a"))
        rollouts = sampler(tokenizer, engine, ToyEnvironment(turns=2))
        tasks = rollouts.environment.tasks("train")
        asyncio.run(rollouts.collect([Job(tasks[0], 0, 3), Job(tasks[1], 1, 3)], temperature=1.0, seed=3, epoch=shift))
        return [params.seed for params in engine.params]

    first = seeds(0)
    assert len(set(first)) == len(first) == 12
    assert sorted(first) == sorted(seeds(0))  # type: ignore[type-var]
    assert not set(first) & set(seeds(1))


def test_a_task_that_comes_twice_comes_with_other_seeds(tokenizer: PreTrainedTokenizerBase) -> None:
    engine = ScriptedEngine(says(tokenizer, "a"))
    rollouts = sampler(tokenizer, engine, ToyEnvironment(turns=1))
    (task, *_) = rollouts.environment.tasks("train")
    collect(rollouts, [Job(task, 0, 2), Job(task, 1, 2, first_sample=2)])
    assert len({params.seed for params in engine.params}) == 4


def test_greedy_requests_have_no_seed(tokenizer: PreTrainedTokenizerBase) -> None:
    engine = ScriptedEngine(says(tokenizer, "a"))
    collect(sampler(tokenizer, engine), temperature=0.0)
    assert {params.seed for params in engine.params} == {None}


def test_siblings_share_the_environment_seed(tokenizer: PreTrainedTokenizerBase) -> None:
    opened: list[tuple[str, int]] = []

    class Recording(ToyEnvironment):
        async def open(self, task: Task, seed: int) -> Episode:
            opened.append((task.id, seed))
            return await super().open(task, seed)

    environment = Recording()
    tasks = environment.tasks("train")
    collect(
        sampler(tokenizer, ScriptedEngine(says(tokenizer, "a")), environment),
        [Job(tasks[0], 0, 2), Job(tasks[1], 1, 2)],
    )
    assert len({seed for task, seed in opened if task == "0"}) == 1
    assert len(set(opened)) == 2


def test_trajectories_come_back_by_group_then_sample(tokenizer: PreTrainedTokenizerBase) -> None:
    environment = ToyEnvironment()
    tasks = environment.tasks("train")
    rollouts = collect(
        sampler(tokenizer, ScriptedEngine(says(tokenizer, "a")), environment),
        [Job(tasks[1], 5, 2), Job(tasks[0], 6, 2)],
    )
    assert [(trajectory.group, trajectory.sample) for trajectory in rollouts] == [(5, 0), (5, 1), (6, 0), (6, 1)]
    assert len({trajectory.id for trajectory in rollouts}) == 4


def test_slow_tools_overlap_across_trajectories(tokenizer: PreTrainedTokenizerBase) -> None:
    environment = ToyEnvironment(turns=3, latency=0.2)
    rollouts = sampler(tokenizer, ScriptedEngine(says(tokenizer, "a")), environment)
    start = time.perf_counter()
    collect(rollouts, [Job(environment.tasks("train")[0], 0, 8)])
    # Two observations of 200 ms each; one after another, 8 trajectories would need 3.2 s.
    assert time.perf_counter() - start <= 2 * 2 * 0.2


def test_no_trajectory_waits_for_another_ones_tool(tokenizer: PreTrainedTokenizerBase) -> None:
    """A turn barrier would let the quick trajectory finish after the slow one's first tool."""
    finished: list[int] = []

    class Uneven(ToyEnvironment):
        async def open(self, task: Task, seed: int) -> Episode:
            self.latency = 0.3 if task.id == "0" else 0.0
            episode = await super().open(task, seed)
            slow = self.latency
            step = episode.step

            async def delayed(action: object) -> object:
                await asyncio.sleep(slow)
                return await step(action)  # type: ignore[arg-type]

            episode.step = delayed  # type: ignore[assignment, method-assign]
            self.latency = 0.0
            return episode

    environment = Uneven(turns=4)
    tasks = environment.tasks("train")
    rollouts = sampler(tokenizer, ScriptedEngine(says(tokenizer, "a")), environment)
    start = time.perf_counter()
    times: dict[int, float] = {}

    def done(trajectory: Trajectory) -> None:
        finished.append(trajectory.group)
        times[trajectory.group] = time.perf_counter() - start

    asyncio.run(
        rollouts.collect(
            [Job(tasks[0], 0, 1), Job(tasks[1], 1, 1)], temperature=1.0, seed=0, epoch=0, on_trajectory=done
        )
    )
    assert finished == [1, 0]
    assert times[1] < 0.3 < times[0]


def test_a_failing_environment_stops_the_collection_with_its_own_error(tokenizer: PreTrainedTokenizerBase) -> None:
    class Broken(ToyEnvironment):
        async def open(self, task: Task, seed: int) -> Episode:
            raise RuntimeError("no such game")

    with pytest.raises(RuntimeError, match="no such game"):
        collect(sampler(tokenizer, ScriptedEngine(says(tokenizer, "a")), Broken()))


@pytest.mark.parametrize("limits", [(0, 8, 64), (2, 0, 64), (2, 64, 64)])
def test_impossible_limits_are_refused(limits: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Limits(*limits)
