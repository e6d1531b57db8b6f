"""Demonstrations of shopping: what they show, what they keep back, and their flaw."""

import json
from pathlib import Path
from random import Random

import pytest
from shopping import follow

from lightning_agentrl.data.demonstrations import read_demonstrations
from lightning_agentrl.environments.shop import Shop, Shopper
from lightning_agentrl.environments.shop.score import score


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    folder = tmp_path_factory.mktemp("shop")
    shop = Shop(folder, products=200, train_goals=50, validation_goals=2000, page_size=3, shopper=Shopper(count=300))
    shop.prepare()
    return shop


def test_demonstrations_appear_once_they_are_prepared(shown: Shop, tmp_path: Path) -> None:
    assert shown.demonstrations is not None
    assert len(read_demonstrations(shown.demonstrations)) == 300
    assert Shop(tmp_path, shopper=Shopper(count=5)).demonstrations is None
    assert Shop(shown.data_dir, products=200).demonstrations is None


def test_demonstrations_are_written_once_and_again_for_other_settings(shown: Shop) -> None:
    assert shown.demonstrations is not None
    before = shown.demonstrations.stat().st_mtime_ns
    shown.prepare()
    assert shown.demonstrations.stat().st_mtime_ns == before
    assert Shop(shown.data_dir, products=201, shopper=Shopper(count=300)).demonstrations is None


def test_no_demonstration_shows_a_validation_goal(shown: Shop) -> None:
    assert shown.demonstrations is not None
    rows = [json.loads(line) for line in shown.demonstrations.read_text(encoding="utf-8").splitlines()]
    asked = {row["messages"][1]["content"] for row in rows}
    assert not asked & {task.messages[1]["content"] for task in shown.tasks("validation")}


def test_goals_to_demonstrate_leave_out_what_they_are_told_to() -> None:
    def instructions(*excluded: str) -> list[str]:
        return [goal.instruction for _, goal in Shopper(count=20).goals(200, 3, excluded, Random(0))]

    every = instructions()
    assert instructions(*every[::2])[:10] == every[1::2]


def demonstrate(hasty: float) -> list[tuple[float, int]]:
    """Scores of what is bought in demonstrations, and the number of wanted options."""
    shopper, result = Shopper(count=40, hasty=hasty), []
    rng = Random(0)
    for front, goal in shopper.goals(200, 3, (), rng):
        said = [m["content"] for m in shopper.visit(front, goal, rng, True) if m["role"] == "assistant"]
        visit = follow(front, *(text.removeprefix("<action>").removesuffix("</action>") for text in said))
        assert visit.item is not None
        result.append((score(visit.item, visit.chosen, goal).total, len(goal.options)))
    return result


def test_a_patient_shopper_always_scores_1() -> None:
    assert all(total == 1.0 for total, _ in demonstrate(hasty=0.0))


def test_a_hasty_shopper_scores_1_only_where_no_option_is_wanted() -> None:
    assert all((total == 1.0) == (options == 0) for total, options in demonstrate(hasty=1.0))
