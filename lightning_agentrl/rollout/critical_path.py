"""What a collection waited for: the rollout that finished last, turn by turn, and what faster tools would save."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lightning_agentrl.types import Trajectory, Turn


@dataclass(frozen=True)
class Wait:
    """A stretch of the critical path."""

    kind: str
    """``decode``, ``tool``, ``environment`` (an answer without tools), ``reward`` or ``idle``."""
    seconds: float
    turn: int
    tool: str | None = None
    """The slowest tool of the turn."""


@dataclass(frozen=True)
class CriticalPath:
    """The rollout that finished last, as an unbroken chain from the start of the collection."""

    trajectory: Trajectory
    waits: tuple[Wait, ...]
    saved: dict[str, float]
    """Seconds by which the collection would have ended sooner were a tool twice as fast, all else being equal."""

    @property
    def longest(self) -> Wait:
        """What took longest."""
        return max(self.waits, key=lambda wait: wait.seconds)

    @property
    def numbers(self) -> dict[str, float]:
        """Seconds by kind, and what each tool would save, under their logged names."""
        kinds = ("decode", "tool", "environment", "reward", "idle")
        seconds = {kind: sum(wait.seconds for wait in self.waits if wait.kind == kind) for kind in kinds}
        return {
            **{f"critical/{kind}": value for kind, value in seconds.items()},
            **{f"critical/saved_{tool}": value for tool, value in sorted(self.saved.items())},
        }

    def __str__(self) -> str:
        """One line for people."""
        wait = self.longest
        what = f"{wait.kind} {wait.tool}" if wait.tool else wait.kind
        best = max(self.saved.items(), key=lambda pair: pair[1], default=None)
        faster = f"; {best[0]} twice as fast would save {best[1]:.2f} s" if best and best[1] >= 0.01 else ""
        task = self.trajectory.task.id
        return f"waited longest for {what} in turn {wait.turn + 1} of task {task!r} ({wait.seconds:.2f} s){faster}"


def critical_path(trajectories: Sequence[Trajectory], started: float) -> CriticalPath | None:
    """The chain of waits of the rollout that finished last; None where nobody looked at the clock.

    A branch's chain begins with the turns that it inherited. Decoding is taken as it was: with fewer tools waiting at
    the same time an engine's batch may be larger and slower, so what is saved is an upper bound.

    Args:
        trajectories: of one collection, all sampled by one wave.
        started: when it began, on the clock of their timing.
    """
    timed = [trajectory for trajectory in trajectories if trajectory.judged is not None]
    timed = [trajectory for trajectory in timed if all(turn.timing is not None for turn in trajectory.turns)]
    if not timed:
        return None
    last = max(timed, key=_end)
    tools = sorted({call.name for t in timed for turn in t.turns for call in turn.tool_calls if call.latency > 0})
    end = _end(last)
    saved = {tool: end - max(_end(t) - sum(_gain(turn, tool) for turn in t.turns) for t in timed) for tool in tools}
    return CriticalPath(last, tuple(_waits(last, started)), saved)


def waited(paths: Sequence[CriticalPath]) -> dict[str, float]:
    """Numbers of the waves of a collection, which came one after the other."""
    total: dict[str, float] = {}
    for path in paths:
        for name, seconds in path.numbers.items():
            total[name] = total.get(name, 0.0) + seconds
    return total


def _end(trajectory: Trajectory) -> float:
    assert trajectory.judged is not None
    return trajectory.judged


def _waits(trajectory: Trajectory, started: float) -> list[Wait]:
    waits: list[Wait] = []
    at = started
    for number, turn in enumerate(trajectory.turns):
        assert turn.timing is not None
        slowest = max(turn.tool_calls, key=lambda call: call.latency, default=None)
        heard = turn.timing.heard - turn.timing.said
        waits += [
            Wait("idle", turn.timing.asked - at, number),
            Wait("decode", turn.timing.said - turn.timing.asked, number),
            Wait("tool" if slowest else "environment", heard, number, slowest.name if slowest else None),
        ]
        at = turn.timing.heard
    waits.append(Wait("reward", _end(trajectory) - at, len(trajectory.turns) - 1))
    return waits


def _gain(turn: Turn, tool: str) -> float:
    """Seconds by which a turn's calls, which run side by side, would end sooner were a tool twice as fast."""
    now = max((call.latency for call in turn.tool_calls), default=0.0)
    then = max((call.latency / (1 + (call.name == tool)) for call in turn.tool_calls), default=0.0)
    return now - then
