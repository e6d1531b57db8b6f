"""An assigner that runs without its recipe says so."""

from __future__ import annotations

import sys

import pytest

from lightning_agentrl.cli import AgentRLCLI
from lightning_agentrl.config_files import config_names
from lightning_agentrl.recipes import notice, recipes_of


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["agentrl"])


def said(*options: str) -> str | None:
    cli = AgentRLCLI(["-c", "base", *options], run=False)
    return notice(cli.config.as_dict(), cli.recipe)


@pytest.mark.parametrize("name", [name for name in config_names() if name.startswith("algorithm/")])
def test_a_shipped_recipe_is_met(name: str) -> None:
    assert said("-c", name) is None


def test_what_is_missing_of_a_recipe_is_named() -> None:
    line = said("--model.credit", "A2TGPO")
    assert line is not None
    assert line.startswith("A2TGPO without its recipe (-c algorithm/a2tgpo): ")
    for part in ("model.loss.ratio is token, there turn", "data.minibatches is 1, there 8"):
        assert part in line


def test_a_class_is_known_by_any_of_its_paths() -> None:
    short = said("--model.credit", "A2TGPO", "--model.loss", "ClippedLoss")
    long = said(
        *("--model.credit", "lightning_agentrl.credit.a2tgpo.A2TGPO"),
        *("--model.loss", "lightning_agentrl.losses.clipped.ClippedLoss"),
    )
    assert short == long is not None


def test_a_wrapped_assigner_has_a_recipe_of_its_own() -> None:
    line = said("--model.credit", "AEM", "--model.credit.base", "A2TGPO")
    assert line is not None
    assert "-c algorithm/aem_a2tgpo" in line


@pytest.mark.parametrize("options", [(), ("--model.credit", "AEM", "--model.credit.base", "RLOO")])
def test_what_has_no_single_recipe_is_let_be(options: tuple[str, ...]) -> None:
    assert said(*options) is None


def test_the_plainest_recipe_comes_first() -> None:
    assert recipes_of("lightning_agentrl.credit.a2tgpo.A2TGPO")[0] == "algorithm/a2tgpo"
