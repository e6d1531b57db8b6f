"""The glossary of metrics and the runs know the same names: what is logged is explained, and the other way round."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from helpers import data, module, trainer
from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from lightning_agentrl.branching.entropy import EntropyBranching
from lightning_agentrl.branching.procedural import ProceduralBranching
from lightning_agentrl.callbacks import CreditFigures, RunSettings
from lightning_agentrl.callbacks.dashboard import PAGES
from lightning_agentrl.credit.a2tgpo import A2TGPO
from lightning_agentrl.credit.aem import AEM
from lightning_agentrl.credit.appo import APPO
from lightning_agentrl.credit.gigpo import GiGPO
from lightning_agentrl.credit.mt_grpo import MTGRPO
from lightning_agentrl.credit.reinforce_plus_plus import ReinforcePlusPlus
from lightning_agentrl.engines.base import SamplingParams
from lightning_agentrl.environments.base import Environment, Episode, Split
from lightning_agentrl.environments.tools import ToolEpisode, ToolRules
from lightning_agentrl.losses.clipped import ClippedLoss
from lightning_agentrl.losses.correction import ImportanceCorrection
from lightning_agentrl.losses.future_kl import FutureKLLoss
from lightning_agentrl.rewards.base import Rewards
from lightning_agentrl.rewards.exact_match import ExactMatch
from lightning_agentrl.rollout.dynamic_sampling import DynamicSampling
from lightning_agentrl.testing import Reply, ScriptedEngine
from lightning_agentrl.tools.base import Tool
from lightning_agentrl.tools.function import tool
from lightning_agentrl.tools.toolbox import Toolbox
from lightning_agentrl.types import Task

PAGE = Path(__file__).parents[2] / "tutorials" / "60_metrics.md"
PLACEHOLDERS = {"k": r"\d+", "q": r"[\d.]+"}
NEVER_IN_A_SOUND_RUN = {"engine/nonfinite_tokens"}
"""Only a broken kernel logs it; tests/metrics/test_mismatch.py makes one."""


@tool
def capital(country: str) -> str:
    """Look up the capital of a country.

    Args:
        country: Name of the country in English.
    """
    return {"Norway": "Oslo", "Peru": "Lima"}[country]


BOX = Toolbox([capital])


class Capitals(Environment):
    """One question, thrice in validation, twice of it under one id: so that some prompts have more samples."""

    def __init__(self, turn_reward: float = 0.1) -> None:
        self.turn_reward = turn_reward

    @property
    def gives_turn_rewards(self) -> bool:
        return self.turn_reward != 0

    @property
    def tools(self) -> Sequence[Tool]:
        return tuple(BOX.tools.values())

    def tasks(self, split: Split) -> Sequence[Task]:
        ids = ("a", "a", "b") if split == "validation" else "abcd"
        return [Task(id, ({"role": "user", "content": "say even"},), ("Oslo",), {"hops": 1}) for id in ids]

    async def open(self, task: Task, seed: int) -> Episode:
        return ToolEpisode(BOX, Rewards(ExactMatch()), rules=ToolRules(lambda results: self.turn_reward * len(results)))


SAYS = (
    '<tool_call>{"name": "capital", "arguments": {"country": "Norway"}}</tool_call>',
    '<tool_call>{"name": "capital", "arguments": {"country": "Atlantis"}}</tool_call>',
    '<tool_call>{"name": "river", "arguments": {}}</tool_call>',
    "<tool_call>{</tool_call>",
    "<answer>Oslo</answer>",
    "<answer>Lima</answer>",
)


def talkative(tokenizer: PreTrainedTokenizerBase) -> ScriptedEngine:
    """Calls tools rightly and wrongly, and answers, at random."""
    rng = random.Random(0)

    def script(prompt: list[int], params: SamplingParams) -> Reply:
        said = [*tokenizer.encode(rng.choice(SAYS)), *params.stop_token_ids[:1]]
        return Reply(said, entropies=[rng.random() for _ in said])

    return ScriptedEngine(script, tokenizer=tokenizer)


SCRIPTED = {"environment": Capitals(), "max_turns": 4, "max_turn_tokens": 160, "max_model_len": 1000}
SCRIPTED |= {"parity_tolerance": 0.0, "validation_samples": 2, "validation_temperature": 1.0}
RUNS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "tools, turn rewards, forks": (
        {"credit": MTGRPO()},
        {**SCRIPTED, "branching": EntropyBranching(initial_roots=2, base=1.0), "minibatches": 2},
    ),
    "states": ({"credit": GiGPO()}, SCRIPTED),
    "gains, entropies, KL, correction, dual clip": (
        {
            "credit": AEM(A2TGPO()),
            "loss": ClippedLoss(ratio="turn", dual_clip=3.0),
            "kl_coefficient": 0.01,
            "correction": ImportanceCorrection(),
        },
        {**SCRIPTED, "environment": Capitals(turn_reward=0.0), "minibatches": 2},
    ),
    "decision points": (
        {"credit": APPO(), "loss": FutureKLLoss(), "aggregation": "sequence-mean", "aggregation_rows": "all"},
        {"branching": ProceduralBranching(branches=1, room=1), "minibatches": 4},
    ),
    "returns, dynamic sampling": (
        {"credit": ReinforcePlusPlus(), "loss": ClippedLoss()},
        {"dynamic_sampling": DynamicSampling(epsilon=0.3), "group_size": 2},
    ),
}


def explained() -> list[str]:
    """Names in the first column of the glossary's tables."""
    cells = re.findall(r"^\| (`.*?) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def patterns() -> dict[str, re.Pattern[str]]:
    """Name in the glossary → what it stands for."""
    return {name: re.compile(_pattern(name)) for name in explained()}


def _pattern(name: str) -> str:
    parts = re.split(r"<(\w+)>", name)
    return "".join(PLACEHOLDERS.get(p, r"[^/]+") if n % 2 else re.escape(p) for n, p in enumerate(parts))


@pytest.fixture(scope="module")
def logged(policy: str, tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Every name that the runs log, to TensorBoard or to callbacks."""
    names: set[str] = set()
    tokenizer = AutoTokenizer.from_pretrained(policy)
    for number, (model, collection) in enumerate(RUNS.values()):
        folder = tmp_path_factory.mktemp(f"run{number}")
        engine = talkative(tokenizer) if "parity_tolerance" in collection else None
        logger = TensorBoardLogger(folder, name="", version="", default_hp_metric=False)
        settings = RunSettings(LightningArgumentParser(), Namespace(), save_to_log_dir=False)
        run = trainer(folder, CreditFigures(1), settings, logger=logger, log_every_n_steps=1, max_epochs=1)
        run.fit(module(policy, **model), datamodule=data(engine=engine, **collection))
        events = EventAccumulator(str(folder), {"images": 0, "tensors": 0}).Reload()
        names |= set(events.Tags()["scalars"]) | set(run.callback_metrics)
    return names


def test_every_logged_number_is_in_the_glossary(logged: set[str]) -> None:
    known = patterns().values()
    shorter = {name: name.removeprefix("val/") if name.startswith("val/tool/") else name for name in logged}
    assert not [name for name, short in shorter.items() if not any(p.fullmatch(short) for p in known)]


def test_every_number_of_the_glossary_is_logged(logged: set[str]) -> None:
    silent = {name for name, pattern in patterns().items() if not any(map(pattern.fullmatch, logged))}
    assert silent == NEVER_IN_A_SOUND_RUN


def test_no_number_is_explained_twice() -> None:
    assert [name for name, count in Counter(explained()).items() if count > 1] == []


def test_every_chart_of_the_dashboard_shows_numbers_that_runs_log(logged: set[str]) -> None:
    """Numbers of turns beyond what these runs have are known by their pattern."""
    wanted = {name for charts in PAGES.values() for names in charts.values() for name in names}
    assert not [name for name in wanted - logged if not patterns()["credit/turn_<k>_mean"].fullmatch(name)]
