"""Every shipped configuration parses and builds; names are found from anywhere."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from lightning.pytorch import Trainer

from lightning_agentrl.cli import AgentRLCLI
from lightning_agentrl.config_files import config_names, config_root, expand, find_config
from lightning_agentrl.datamodule import AgentRLDataModule
from lightning_agentrl.module import AgentRLModule

ENVIRONMENT = "environment/made_up_world"


def layers(name: str) -> list[str]:
    """What a configuration is meant to be laid over."""
    under = ["base"] if name.startswith("environment/") else ["base", ENVIRONMENT]
    return [*under, name] if name != "base" else under


@pytest.mark.parametrize("name", config_names())
def test_every_configuration_builds(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = [part for layer in layers(name) for part in ("-c", layer)]
    cli = AgentRLCLI(arguments, run=False)
    assert isinstance(cli.model, AgentRLModule)
    assert isinstance(cli.datamodule, AgentRLDataModule)
    assert isinstance(cli.trainer, Trainer)


@pytest.mark.parametrize("name", config_names())
def test_every_configuration_says_what_it_is_for_in_its_first_line(name: str) -> None:
    assert find_config(name).read_text(encoding="utf-8").startswith("# ")


def test_there_is_no_configuration_outside_the_shipped_names() -> None:
    found = {path for path in config_root().rglob("*") if path.is_file()}
    assert found == {config_root() / f"{name}.yaml" for name in config_names()}


def test_a_shipped_name_is_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (expanded,) = expand(["-c", "algorithm/grpo"])[1:]
    assert yaml.safe_load(Path(expanded).read_text())["model"]["credit"].endswith("GRPO")


def test_a_file_of_ones_own_goes_before_a_shipped_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base").write_text("{}")
    assert find_config("base") == Path("base")


@pytest.mark.parametrize("form", [["-c", "grpoo"], ["--config", "algorithm/grp"], ["--config=algorithm/grpp"]])
def test_a_wrong_name_is_answered_with_near_ones(form: list[str]) -> None:
    with pytest.raises(ValueError, match="algorithm/grpo"):
        expand(form)
