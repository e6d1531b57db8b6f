"""One rollout as a JSON object that people and other programs can read."""

from __future__ import annotations

from dataclasses import asdict
from math import isfinite
from typing import Any

from lightning_agentrl.rollout.pieces import Pieces
from lightning_agentrl.types import RolloutBatch, Segment, Trajectory, Turn


def record(trajectory: Trajectory, batch: RolloutBatch, row: int, pieces: Pieces) -> dict[str, Any]:
    """The rollout in words: prompt, turns with calls, results, pieces of text per token, and credit by turn.

    Args:
        trajectory: what happened.
        batch: holds the trajectory's tensors.
        row: of the trajectory.
        pieces: turns tokens into text.

    Returns:
        Ids, task, verdict and ``turns``. Pieces of text stand in ``tokens``, one per token; ``start`` is the column
        of a turn's first action token, so that per-token tensors of the bundle line up with them.
    """
    reward = trajectory.reward
    turns, column = [], len(trajectory.prompt)
    for number, turn in enumerate(trajectory.turns):
        credit = {name: _number(values[row, number]) for name, values in batch.components.items()}
        turns.append({**_turn(turn, pieces), "start": column, "credit": credit})
        column += len(turn.action) + (len(turn.observation) if turn.observation else 0)
    return {
        "id": trajectory.id,
        "group": trajectory.group,
        "sample": trajectory.sample,
        "origin": asdict(trajectory.origin) if trajectory.origin else None,
        "task": trajectory.task.id,
        "messages": [dict(message) for message in trajectory.task.messages],
        "answers": list(trajectory.task.answers),
        "meta": _plain(trajectory.task.meta),
        "answer": trajectory.answer,
        "outcome": _number(trajectory.outcome),
        "reward": _number(reward.shaped) if reward else None,
        "reward_parts": {name: _number(value) for name, value in reward.components.items()} if reward else {},
        "stop": str(trajectory.stop),
        "prompt": "".join(pieces(trajectory.prompt.token_ids)),
        "prompt_tokens": len(trajectory.prompt),
        "turns": turns,
    }


def _turn(turn: Turn, pieces: Pieces) -> dict[str, Any]:
    observation = turn.observation or Segment((), sampled=False)
    return {
        "action": turn.text,
        "answer": turn.answer,
        "results": list(turn.results),
        "tokens": pieces(turn.action.token_ids),
        "observation": "".join(pieces(observation.token_ids)),
        "observation_tokens": len(observation),
        "tool_calls": [_plain(asdict(call)) for call in turn.tool_calls],
        "reward": _number(turn.reward),
        "penalty": _number(turn.penalty),
        "stop": str(turn.stop),
        "seconds": _seconds(turn),
        "policy_version": turn.policy_version,
        "cached_tokens": turn.cached_tokens,
    }


def _seconds(turn: Turn) -> dict[str, float] | None:
    """How long the policy and its environment took."""
    if turn.timing is None:
        return None
    return {"decode": turn.timing.said - turn.timing.asked, "environment": turn.timing.heard - turn.timing.said}


def _number(value: Any) -> float | None:
    """JSON knows no NaN and no infinity."""
    return float(value) if isfinite(float(value)) else None


def _plain(value: Any) -> Any:
    """As JSON can write it; what it cannot is written as text."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return _number(value)
    return value if isinstance(value, str | int | bool | None) else str(value)
