"""One trajectory on its way: say a turn, hear the answer, and so on; and how another one branches off it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from lightning_agentrl.engines.base import Completion
from lightning_agentrl.environments.base import Episode, Observation, Unforkable
from lightning_agentrl.rollout.jobs import Limits, stable_seed
from lightning_agentrl.rollout.wave import Wave
from lightning_agentrl.types import BranchPoint, Segment, StopReason, Timing, Trajectory, Turn


@dataclass
class Leaf:
    """A trajectory in progress and its side of the environment.

    Seeds depend on (run seed, epoch, task, sample, turn) only, so a trajectory does not depend on its batch mates.
    """

    trajectory: Trajectory
    """What has been said and answered so far."""
    episode: Episode
    state_key: int
    """Of the state that the next turn answers."""
    said: Segment | None = None
    """What a branch inherited of the turn that it is in."""
    turn: Turn | None = None
    """The newest turn, which nothing answered yet."""
    done: bool = False
    tokens: list[int] = field(default_factory=list)
    """What the next turn is sampled behind, ``said`` left out."""

    async def speak(self, wave: Wave) -> None:
        """Sample the next turn."""
        sampler, said = wave.sampler, self.said or Segment((), sampled=True, logprobs=())
        number = len(self.trajectory.turns)
        room = sampler.limits.max_model_len - len(self.tokens)
        seed = stable_seed(*wave.seeds, self.trajectory.task.id, self.trajectory.sample, number)
        asked = time.perf_counter()
        completion = await sampler.engine.generate(
            [*self.tokens, *said.token_ids],
            sampler.params(room, len(said), wave.temperature, seed, wave.branching.top_logprobs),
        )
        stop = StopReason.FINISHED
        if completion.finish_reason == "length":
            stop = StopReason.TURN_LENGTH if room > sampler.limits.max_turn_tokens else StopReason.CONTEXT
        self.turn = Turn(
            action=_joined(said, completion, self.trajectory),
            state_key=self.state_key,
            stop=stop,
            policy_version=wave.policy_version,
            cached_tokens=completion.cached_tokens,
            timing=Timing(asked, spoken := time.perf_counter(), spoken),
        )
        self.said = None

    async def listen(self, wave: Wave) -> None:
        """Let the environment answer the newest turn; afterwards the trajectory goes on or is done."""
        turn, limits = self.turn, wave.sampler.limits
        assert turn is not None
        heard = Observation()
        ids: tuple[int, ...] = ()
        action = wave.sampler.parse(turn.action.token_ids)
        turn = replace(turn, text=action.text, answer=action.answer)
        if not turn.stop.truncated:
            heard = await self.episode.step(action)
            turn = replace(turn, tool_calls=heard.tool_calls, reward=heard.reward, penalty=heard.penalty)
            ids = () if heard.done else wave.sampler.observe(heard)
        if turn.timing is not None:
            turn = replace(turn, timing=replace(turn.timing, heard=time.perf_counter()))
        self.turn = None  # a failed environment leaves it to be answered again
        stop = _stop(turn, heard, len(self.tokens) + len(turn.action) + len(ids), len(self.trajectory.turns), limits)
        if stop is not None:
            self.trajectory = replace(self.trajectory, turns=(*self.trajectory.turns, turn), stop=stop)
            self.done = True
            return
        texts = heard.results if heard.message is None else (heard.message,)
        turn = replace(turn, observation=Segment(ids, sampled=False), results=texts)
        self.trajectory = replace(self.trajectory, turns=(*self.trajectory.turns, turn))
        self.tokens += [*turn.action.token_ids, *ids]
        self.state_key = heard.state_key if heard.state_key is not None else stable_seed(*ids)

    @property
    def so_far(self) -> Trajectory:
        """The trajectory with the turn that nothing answered yet."""
        newest = () if self.turn is None else (self.turn,)
        return replace(self.trajectory, turns=(*self.trajectory.turns, *newest))


def open_leaf(trajectory: Trajectory, episode: Episode) -> Leaf:
    """A root that has said nothing yet."""
    tokens = list(trajectory.prompt.token_ids)
    return Leaf(trajectory, episode, stable_seed(*tokens), tokens=tokens)


def prefix(parent: Trajectory, column: int) -> tuple[tuple[Turn, ...], Segment]:
    """Whole turns before a column, and what was said of the turn that it lies in.

    Raises:
        ValueError: when the column does not lie in, or at the start of, something that the policy said.
    """
    position = len(parent.prompt)
    for number, turn in enumerate(parent.turns):
        if position <= column < position + len(turn.action):
            return parent.turns[:number], _cut(turn.action, column - position)
        position += len(turn.action) + (len(turn.observation) if turn.observation else 0)
    raise ValueError(
        f"A branch of trajectory {parent.id} cannot start at column {column}: the policy sampled no token there."
    )


async def branch_leaf(
    parent: Trajectory, point: BranchPoint, trajectory: Trajectory, episode: Episode | None, wave: Wave
) -> Leaf:
    """A leaf that re-samples ``parent`` from a column on, in the state that the turns before it led to.

    Args:
        parent: with at least the turn that the column lies in.
        point: where to leave it.
        trajectory: the new one, without turns.
        episode: of the parent where nothing answered its last turn yet; a branch of that turn starts in the same state.
            Otherwise the state is restored.
        wave: what trajectories share.

    Raises:
        Unforkable: when the environment can neither copy the state nor be led there again.
    """
    turns, said = prefix(parent, point.column)
    copy = await _fork(episode if len(turns) == len(parent.turns) - 1 else None, parent, turns, wave)
    tokens = [*parent.prompt.token_ids]
    for turn in turns:
        assert turn.observation is not None
        tokens += [*turn.action.token_ids, *turn.observation.token_ids]
    trajectory = replace(trajectory, turns=turns, origin=point)
    key = parent.turns[len(turns)].state_key
    return Leaf(trajectory, copy, key, said=said if len(said) else None, tokens=tokens)


async def _fork(episode: Episode | None, parent: Trajectory, turns: Sequence[Turn], wave: Wave) -> Episode:
    if episode is not None:
        try:
            return await episode.fork()
        except Unforkable:
            pass  # then its actions are replayed
    return await restored(parent, turns, wave)


async def restored(parent: Trajectory, turns: Sequence[Turn], wave: Wave) -> Episode:
    """A fresh episode in the state that some turns of a trajectory led to.

    Raises:
        Unforkable: when the environment cannot be led there again.
        InfrastructureError: when it fails once more.
    """
    environment, seed = wave.sampler.environment, wave.episode_seed(parent.task)
    resumed = await environment.resume(parent.task, seed, turns)
    if resumed is not None:
        return resumed
    fresh = await environment.open(parent.task, seed)
    try:
        for number, turn in enumerate(turns):
            heard = await fresh.step(wave.sampler.parse(turn.action.token_ids))
            if heard.done or turn.observation is None or wave.sampler.observe(heard) != turn.observation.token_ids:
                raise Unforkable(
                    f"{type(environment).__name__} cannot be branched: its episodes do not fork, and replaying the "
                    f"actions of task {parent.task.id!r} gave another answer to turn {number + 1}. Implement "
                    f"Episode.fork, or Environment.resume for branches of finished rollouts."
                )
    except BaseException:
        await fresh.close()
        raise
    return fresh


def _cut(segment: Segment, length: int) -> Segment:
    return Segment(
        segment.token_ids[:length],
        segment.sampled,
        None if segment.logprobs is None else segment.logprobs[:length],
        None if segment.entropies is None else segment.entropies[:length],
    )


def _joined(said: Segment, completion: Completion, trajectory: Trajectory) -> Segment:
    if not completion.token_ids:
        raise RuntimeError(
            f"The engine returned no token for trajectory {trajectory.id} (task {trajectory.task.id!r})."
        )
    entropies = completion.entropies
    if entropies is not None and len(said):
        entropies = (*said.entropies, *entropies) if said.entropies is not None else None
    return Segment(
        (*said.token_ids, *completion.token_ids), True, (*(said.logprobs or ()), *completion.logprobs), entropies
    )


def _stop(turn: Turn, heard: Observation, length: int, before: int, limits: Limits) -> StopReason | None:
    if turn.stop.truncated:
        return turn.stop
    if heard.done:
        return StopReason.FINISHED
    if length >= limits.max_model_len:  # one token of room is the least that a further turn needs
        return StopReason.CONTEXT
    return StopReason.MAX_TURNS if before + 1 == limits.max_turns else None
