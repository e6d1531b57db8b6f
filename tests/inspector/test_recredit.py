"""`agentrl recredit`, as a user types it."""

import csv
from pathlib import Path

import pytest
from saved_rollouts import save_rollouts

from lightning_agentrl.cli import main
from lightning_agentrl.credit.grpo import GRPO
from lightning_agentrl.credit.igpo import IGPO
from lightning_agentrl.inspector.figures import compare, question
from lightning_agentrl.inspector.opinions import ask
from lightning_agentrl.inspector.recredit import chosen
from lightning_agentrl.rollout.bundle import Bundle


@pytest.fixture
def run(tmp_path: Path) -> Path:
    save_rollouts(tmp_path / "run" / "rollouts" / "epoch-0003")
    return tmp_path / "run"


def test_two_assigners_are_compared_in_one_command(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recredit", str(run), "--credit", "IGPO", "--vs", "GRPO", "GiGPO"]) == 0
    said = capsys.readouterr().out
    for word in ("IGPO / GRPO", "IGPO / GiGPO", "sign flips", "rank corr.", "drift", "task-0"):
        assert word in said, word
    assert "gradient" not in said  # no checkpoint, no gradient


def test_every_turn_is_in_the_table(run: Path) -> None:
    main(["recredit", str(run), "--credit", "IGPO", "--vs", "GRPO", "--out", str(run / "out")])
    rows = list(csv.DictReader((run / "out" / "turns.csv").open(encoding="utf-8")))
    assert len(rows) == 1 + 2 + 3 + 2 + 1 + 2 + 3 + 1  # the fourth rollout is a branch with two turns
    assert rows[1]["tool"] == "search"
    assert float(rows[0]["GRPO"]) < 0 < float(rows[-1]["GRPO"])


def test_the_picture_is_written(run: Path) -> None:
    pytest.importorskip("matplotlib")
    main(["recredit", str(run), "--credit", "IGPO", "--vs", "GRPO"])
    assert (run / "rollouts" / "epoch-0003" / "recredit" / "comparison.png").read_bytes().startswith(b"\x89PNG")


def test_settings_of_an_assigner_are_options(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recredit", str(run), "--credit", "IGPO", "--credit.gamma", "0.5", "--vs", "IGPO"]) == 0
    assert "gamma=0.5" in capsys.readouterr().out.replace("\n", "")


def test_a_signal_that_was_not_saved_is_named_with_its_remedies(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recredit", str(run), "--credit", "AEM", "--vs", "GRPO"]) == 1
    said = capsys.readouterr().err
    for word in ("AEM needs entropies", "--ckpt", "bundles.save_signals"):
        assert word in said, word


def test_an_epoch_that_was_not_saved_is_answered_with_those_that_were(run: Path) -> None:
    with pytest.raises(ValueError, match=r"No rollouts of epoch 5 .* only of 3"):
        chosen(run, 5)


def test_without_an_epoch_the_last_collection_is_taken(run: Path) -> None:
    save_rollouts(run / "rollouts" / "epoch-0010")
    assert chosen(run, None).folder.name == "epoch-0010"


def test_the_figure_shows_the_prompts_on_which_they_differ(saved: Bundle) -> None:
    pytest.importorskip("matplotlib")
    figure = compare(saved.records, ask(saved.batch, [GRPO(), IGPO()]), prompts=1)
    panels = [axis for axis in figure.axes if axis.get_title()]
    assert [axis.get_title() for axis in panels] == ["GRPO", "IGPO"]
    assert panels[0].images[0].get_array().shape == (4, 3)


def test_a_rollout_is_named_by_what_the_user_asked_last() -> None:
    chat = [{"role": role, "content": role + str(n)} for n, role in enumerate(["system", "user", "assistant", "user"])]
    assert question({"messages": chat, "task": "t"}) == "user3"
    assert question({"messages": [], "task": "t"}) == "t"
