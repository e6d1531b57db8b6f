"""Where a branch could start: with room behind it, at something that was said, outside of calls if asked for."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from growing import FORMAT, call
from transformers import PreTrainedTokenizerBase

from lightning_agentrl.branching.procedural import ProceduralBranching
from lightning_agentrl.rollout.jobs import Limits
from lightning_agentrl.rollout.openings import openings
from lightning_agentrl.types import Segment, Task, Trajectory, Turn

ANYWHERE = ProceduralBranching(room=1)
WIDE = Limits(max_turns=9, max_turn_tokens=90, max_model_len=900)


def trajectory(tokenizer: PreTrainedTokenizerBase, *turns: str | Sequence[int], prompt: int = 2) -> Trajectory:
    """Two columns of observation behind each turn but the last."""
    ids = [FORMAT.action(tokenizer, said)[:-1] if isinstance(said, str) else said for said in turns]
    made = [
        Turn(
            Segment(tuple(said), sampled=True, logprobs=(-1.0,) * len(said)),
            Segment((40, 41), sampled=False) if number + 1 < len(ids) else None,
        )
        for number, said in enumerate(ids)
    ]
    return Trajectory(0, 0, 0, Task("t", ()), Segment((50,) * prompt, sampled=False), tuple(made))


def columns(
    tokenizer: PreTrainedTokenizerBase,
    trajectory: Trajectory,
    limits: Limits = WIDE,
    brancher: ProceduralBranching = ANYWHERE,
) -> list[int]:
    found = openings([trajectory], len(trajectory.token_ids), FORMAT, tokenizer, limits, brancher)
    return found[0].nonzero()[:, 0].tolist()


def test_a_branch_starts_at_what_the_policy_said(tokenizer: PreTrainedTokenizerBase) -> None:
    # Prompt 0–1, turn 2–4, observation 5–6, turn 7–8.
    assert columns(tokenizer, trajectory(tokenizer, "xyz", "xy")) == [2, 3, 4, 7, 8]


def test_a_turn_must_have_room_left(tokenizer: PreTrainedTokenizerBase) -> None:
    # Of 5 tokens per turn, 3 must be left: at the first three places of either turn.
    made = trajectory(tokenizer, "vwxyz", "vwxyz")
    narrow = Limits(max_turns=9, max_turn_tokens=5, max_model_len=900)
    assert columns(tokenizer, made, narrow, ProceduralBranching(room=3)) == [2, 3, 4, 9, 10, 11]


def test_the_context_must_have_room_left(tokenizer: PreTrainedTokenizerBase) -> None:
    # Turns at 2–6 and 9–13 of a context of 14: from column 11 on, 3 tokens fit.
    made = trajectory(tokenizer, "vwxyz", "vwxyz")
    short = Limits(max_turns=9, max_turn_tokens=13, max_model_len=14)
    assert columns(tokenizer, made, short, ProceduralBranching(room=3)) == [2, 3, 4, 5, 6, 9, 10, 11]
    assert columns(tokenizer, made, short)[-1] == 13  # the last token of a full context is still one


@pytest.mark.parametrize("mark", [" ", "\n", ".", ",", "(", "—", '"'])
def test_blanks_and_punctuation_alone_say_nothing(tokenizer: PreTrainedTokenizerBase, mark: str) -> None:
    ids = [tokenizer.encode("x")[0], tokenizer.encode(mark)[0], tokenizer.encode("7")[0]]
    assert columns(tokenizer, trajectory(tokenizer, ids)) == [2, 4]


def test_half_a_character_says_nothing(tokenizer: PreTrainedTokenizerBase) -> None:
    half = tokenizer.encode("東")[:1]
    assert columns(tokenizer, trajectory(tokenizer, half)) == []


def test_the_policy_may_think_again_about_ending_its_turn(tokenizer: PreTrainedTokenizerBase) -> None:
    assert columns(tokenizer, trajectory(tokenizer, FORMAT.action(tokenizer, "x"))) == [2, 3]


def test_calls_are_split_or_left_whole(tokenizer: PreTrainedTokenizerBase) -> None:
    made = trajectory(tokenizer, f"x{call('echo')}y", "z")
    first = len(made.turns[0].action)  # x, the opening tag, the call with its closing tag, y
    whole = columns(tokenizer, made, WIDE, ProceduralBranching(room=1, inside_calls=False))
    assert whole == [2, 3, 2 + first - 1, 2 + first + 2]
    assert set(columns(tokenizer, made)) > set(whole)


def test_rows_are_laid_out_like_the_batch(tokenizer: PreTrainedTokenizerBase) -> None:
    rows = [trajectory(tokenizer, "x"), trajectory(tokenizer, "xy", prompt=3)]
    found = openings(rows, 7, FORMAT, tokenizer, WIDE, ANYWHERE)
    assert found.int().tolist() == [[0, 0, 1, 0, 0, 0, 0], [0, 0, 0, 1, 1, 0, 0]]


def test_a_kept_token_needs_one_of_its_turn_behind_it_with_room(tokenizer: PreTrainedTokenizerBase) -> None:
    # Turns at 2–4 and 7–8: behind the last token of either there is nothing of the turn to sample.
    keeps = ProceduralBranching(room=1, prefix="include")
    assert columns(tokenizer, trajectory(tokenizer, "xyz", "xy"), WIDE, keeps) == [2, 3, 7]
    # Of 5 tokens per turn, 3 must be left where the branch starts, which is one further on.
    narrow = Limits(max_turns=9, max_turn_tokens=5, max_model_len=900)
    roomy = ProceduralBranching(room=3, prefix="include")
    assert columns(tokenizer, trajectory(tokenizer, "vwxyz"), narrow, roomy) == [2, 3]


def test_what_is_kept_must_say_something_and_what_is_sampled_need_not(tokenizer: PreTrainedTokenizerBase) -> None:
    keeps = ProceduralBranching(room=1, prefix="include")
    assert columns(tokenizer, trajectory(tokenizer, "x.y.")) == [2, 4]
    assert columns(tokenizer, trajectory(tokenizer, "x.y."), WIDE, keeps) == [2, 4]
