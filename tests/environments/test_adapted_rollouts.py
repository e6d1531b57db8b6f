"""Games, classes made for TRL and MCP tools in the agent loop: tokens in, tokens out, whole groups."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

from lightning_agentrl.branching.independent import Independent
from lightning_agentrl.environments.base import Environment
from lightning_agentrl.environments.gymnasium import GymnasiumGame
from lightning_agentrl.environments.tool_qa import ToolQA
from lightning_agentrl.environments.trl import TRLEnvironment
from lightning_agentrl.formats.hermes import HermesFormat
from lightning_agentrl.policy import load_tokenizer
from lightning_agentrl.rollout.jobs import Job, Limits
from lightning_agentrl.rollout.sampler import Sampler
from lightning_agentrl.testing import ScriptedEngine, mcp_server, tiny_policy
from lightning_agentrl.testing.guess_number import GuessNumber
from lightning_agentrl.testing.treasure_hunt import TreasureHunt, rows
from lightning_agentrl.tools.mcp import MCPTools
from lightning_agentrl.types import StopReason, Trajectory

FORMAT = HermesFormat()


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    return load_tokenizer(tiny_policy(tmp_path_factory.mktemp("policy")))


def collect(
    environment: Environment, tokenizer: PreTrainedTokenizerBase, say: Callable[[str], str], task: int = 0
) -> Sequence[Trajectory]:
    """A group of three, by a policy that reads the whole conversation."""
    engine = ScriptedEngine(lambda ids, params: FORMAT.action(tokenizer, say(str(tokenizer.decode(ids)))))
    sampler = Sampler(engine, environment, FORMAT, Independent(), tokenizer, Limits(8, 200, 2000))
    job = Job(environment.tasks("train")[task], 0, 3)
    try:
        return asyncio.run(sampler.collect([job], temperature=1.0, seed=0, epoch=0))
    finally:
        environment.close()


def call(name: str, **arguments: object) -> str:
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


def halving(text: str) -> str:
    """The next guess."""
    low, high = 1, 15
    for guess, answer in re.findall(r"assistant\n(\d+)<\|im_end\|>\n<\|im_start\|>user\n(higher|lower)", text):
        low, high = (int(guess) + 1, high) if answer == "higher" else (low, int(guess) - 1)
    return str((low + high) // 2)


def test_a_group_plays_one_game(tokenizer: PreTrainedTokenizerBase) -> None:
    path = f"{GuessNumber.__module__}.GuessNumber"
    group = collect(GymnasiumGame(path, success_at=1, train_games=4, validation_games=1), tokenizer, halving)
    assert [each.outcome for each in group] == [1, 1, 1]
    assert len({tuple(each.token_ids) for each in group}) == 1
    assert {each.stop for each in group} == {StopReason.FINISHED}
    assert group[0].turns[0].results in (("higher",), ("lower",))


class Stairs:
    """Ten steps up; the first game of all breaks at its third step."""

    broken = False

    def reset(self, *, seed: int) -> tuple[str, dict[str, Any]]:
        self.height = 0
        return "step 0", {}

    def step(self, action: int) -> tuple[str, float, bool, bool, dict[str, Any]]:
        self.height += 1
        if self.height == 3 and not Stairs.broken:
            Stairs.broken = True
            raise ConnectionError("the stairs are gone")
        return f"step {self.height}", 0.25, self.height == 4, False, {}

    def close(self) -> None:
        """Nothing to release."""


def test_a_game_that_breaks_is_played_again_up_to_there(
    tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("stairs_of_a_test")
    module.__dict__.update(Stairs=Stairs)
    monkeypatch.setitem(sys.modules, "stairs_of_a_test", module)
    game = GymnasiumGame("stairs_of_a_test.Stairs", actions=["up"], train_games=1, validation_games=1)
    group = collect(game, tokenizer, lambda text: "up")
    assert Stairs.broken
    assert [(each.outcome, len(each.turns)) for each in group] == [(1.0, 4)] * 3
    assert [turn.results for turn in group[0].turns[:-1]] == [("step 1",), ("step 2",), ("step 3",)]


def following(text: str) -> str:
    """The next box, or what to do with the last one."""
    if "You have" in text:
        return "Done."
    if "coin\n</tool_response>" in text:
        return call("take")
    return call("open", box=re.findall(r"(?:Start with|note:) (\w+)", text)[-1])


def test_a_group_has_instances_of_its_own_and_rewards_from_them(tokenizer: PreTrainedTokenizerBase) -> None:
    group = collect(TRLEnvironment(TreasureHunt, rows=rows), tokenizer, following, task=2)  # a trail of three boxes
    assert [(each.outcome, len(each.turns)) for each in group] == [(1, 5)] * 3
    assert [turn.results[0][:4] for turn in group[0].turns[:-1]] == ["note", "note", "coin", "You "]


def test_a_group_shares_a_server(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    pytest.importorskip("mcp")
    questions = tmp_path / "questions.jsonl"
    questions.write_text('{"question": "What is 2 + 3?", "answer": "5"}\n')
    tools = MCPTools([sys.executable, mcp_server.__file__], include=["add"])

    def adding(text: str) -> str:
        found = re.findall(r"<tool_response>\n(\d+)", text)
        return f"<answer>{found[0]}</answer>" if found else call("add", a=2, b=3)

    group = collect(ToolQA(questions, questions, [tools]), tokenizer, adding)
    assert [each.outcome for each in group] == [1, 1, 1]
    assert not tools.connection.open
