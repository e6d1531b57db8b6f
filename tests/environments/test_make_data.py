"""make-data and the demonstrations it writes."""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from random import Random
from typing import Any

import pytest

from lightning_agentrl.data.synthetic_world import synthetic_world
from lightning_agentrl.environments import make_data as module
from lightning_agentrl.environments.libraries import PageLibrary
from lightning_agentrl.environments.make_data import FILES, make_data
from lightning_agentrl.environments.search_demonstrations import Demonstrator, make_demonstrations

SMALL: dict[str, Any] = {"questions": 40, "validation": 24, "demonstrations": 240}


@pytest.fixture(scope="module", params=["synthetic", "iso", "pages"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if request.param == "iso":
        pytest.importorskip("pycountry")
    out = tmp_path_factory.mktemp("worlds") / request.param
    make_data(request.param, out, **SMALL)
    return out


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def texts(path: Path) -> set[str]:
    return {row["question"] for row in rows(path)}


def test_training_and_validation_questions_are_disjoint(made: Path) -> None:
    train, validation = texts(made / "train.jsonl"), texts(made / "validation.jsonl")
    assert (len(train), len(validation), train & validation) == (40, 24, set())


def test_validation_questions_are_even_over_depths(made: Path) -> None:
    depths = [row["metadata"]["hops"] for row in rows(made / "validation.jsonl")]
    assert {depths.count(depth) for depth in set(depths)} == {24 // max(depths)}


def test_no_demonstration_shows_a_validation_question(made: Path) -> None:
    asked = {row["messages"][0]["content"] for row in rows(made / "demonstrations.jsonl")}
    assert not asked & texts(made / "validation.jsonl")


def test_validation_questions_stay_hidden_where_there_are_few_others(tmp_path: Path) -> None:
    pytest.importorskip("pycountry")
    make_data("iso", tmp_path, questions=3, validation=3000, demonstrations=600)  # a third of all questions of one hop
    asked = {row["messages"][0]["content"] for row in rows(tmp_path / "demonstrations.jsonl")}
    assert not asked & texts(tmp_path / "validation.jsonl")


def test_demonstrated_answers_stand_in_the_last_observation(made: Path) -> None:
    for row in rows(made / "demonstrations.jsonl"):
        answer = row["messages"][-1]["content"].removeprefix("<answer> ").removesuffix(" </answer>")
        assert re.search(rf" is {answer}[.,]", row["messages"][-2]["content"])


def test_demonstrations_cannot_be_answered_by_remembering_the_world(made: Path) -> None:
    corpus = {row["contents"] for row in rows(made / "corpus.jsonl")}
    stated = [
        passage
        for row in rows(made / "demonstrations.jsonl")
        for message in row["messages"]
        if message["role"] == "tool"
        for passage in re.findall(r'"[^"]+"\n[^\n]+', message["content"])
    ]
    # Dealing some 240 countries anew leaves a few where they were.
    assert sum(passage in corpus for passage in stated) < 0.1 * len(stated)


def test_every_file_is_described_and_nothing_is_left_over(made: Path) -> None:
    assert {path.name for path in made.iterdir()} == set(FILES)
    assert json.loads((made / "world.json").read_text())["parameters"]["questions"] == 40


def test_the_same_parameters_do_nothing_the_second_time(made: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in made.iterdir()}
    world: Any = made.name
    assert "already holds this data" in make_data(world, made, **SMALL)
    assert {path.name: path.stat().st_mtime_ns for path in made.iterdir()} == before


def test_the_same_parameters_give_the_same_bytes_elsewhere(tmp_path: Path) -> None:
    for name in ("one", "two"):
        make_data("synthetic", tmp_path / name, **SMALL)
    assert [(tmp_path / "one" / name).read_bytes() for name in FILES] == [
        (tmp_path / "two" / name).read_bytes() for name in FILES
    ]


@pytest.mark.parametrize("change", [{"seed": 1}, {"top_k": 1}, {"questions": 44}, {"lazy": 0.0}])
def test_other_parameters_replace_the_files(tmp_path: Path, change: dict[str, Any]) -> None:
    make_data("synthetic", tmp_path, **SMALL)
    before = (tmp_path / "demonstrations.jsonl").read_bytes() + (tmp_path / "train.jsonl").read_bytes()
    assert "Wrote" in make_data("synthetic", tmp_path, **{**SMALL, **change})
    assert (tmp_path / "demonstrations.jsonl").read_bytes() + (tmp_path / "train.jsonl").read_bytes() != before


def test_a_missing_file_is_made_again(tmp_path: Path) -> None:
    make_data("synthetic", tmp_path, **SMALL)
    (tmp_path / "corpus.jsonl").unlink()
    assert "Wrote 1200 passages" in make_data("synthetic", tmp_path, **SMALL)


def test_a_full_disk_leaves_the_old_data_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_data("synthetic", tmp_path, **SMALL)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    (tmp_path / "world.json").write_text("{}")
    before["world.json"] = b"{}"

    def disk_full(*arguments: Any, **options: Any) -> Iterator[dict[str, Any]]:
        yield {"id": "demonstration-0"}
        raise OSError("No space left on device")

    monkeypatch.setattr(module, "make_demonstrations", disk_full)
    with pytest.raises(OSError, match="No space"):
        make_data("synthetic", tmp_path, **SMALL)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_half_moved_data_is_not_taken_for_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_data("synthetic", tmp_path, **SMALL)
    move = os.replace

    def power_cut(source: Path, target: Path) -> None:
        if target.name == "train.jsonl":
            raise OSError("power cut")
        move(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "replace", power_cut)
        with pytest.raises(OSError, match="power cut"):
            make_data("synthetic", tmp_path, **{**SMALL, "seed": 1})
    assert "Wrote" in make_data("synthetic", tmp_path, **SMALL)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"world": "flat"}, "world must be 'synthetic', 'iso' or 'pages', got 'flat'"),
        ({"top_k": 0}, "positive numbers"),
        ({"lazy": 1.5}, r"lazy is a probability in \[0, 1\], got 1.5"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(tmp_path: Path, options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        make_data(**{"world": "synthetic", "out": tmp_path, **SMALL, **options})


# Cold starts are cached under a hash of their demonstrations: other bytes would have every policy trained again.
DEMONSTRATIONS = {"synthetic": "6b538e7b448419e5", "iso": "84fdc046824b6d1a", "pages": "96732389708862c3"}


@pytest.mark.parametrize("world", DEMONSTRATIONS)
def test_the_files_of_a_world_are_what_they_have_always_been(world: Any, tmp_path: Path) -> None:
    if world == "iso":  # real names change with the edition of ISO 3166
        pycountry = pytest.importorskip("pycountry")
        if version("pycountry") != "26.2.16":
            pytest.skip(f"made with pycountry 26.2.16, here is {pycountry.__version__}")
    make_data(world, tmp_path, **SMALL)
    digest = hashlib.sha256(b"".join((tmp_path / name).read_bytes() for name in FILES)).hexdigest()
    assert digest[:16] == DEMONSTRATIONS[world]


def demonstrate(count: int, demonstrator: Demonstrator) -> list[dict[str, Any]]:
    world = synthetic_world(Random(0))
    made = make_demonstrations([world], count, demonstrator, Random(0), top_k=1, max_hops=4, exclude=())
    return list(made)


def test_a_page_is_searched_for_and_opened_before_the_next_one() -> None:
    world = synthetic_world(Random(0))
    options: dict[str, Any] = {"top_k": 2, "max_hops": 3, "exclude": (), "library": PageLibrary}
    for row in make_demonstrations([world], 12, Demonstrator(lazy=0.0, noise=0.0), Random(0), **options):
        said = [message["content"] for message in row["messages"] if message["role"] == "assistant"]
        calls = [json.loads(text.split("\n")[1]) for text in said[:-1]]
        assert [call["name"] for call in calls] == ["search", "fetch"] * row["metadata"]["hops"]
        assert [call["arguments"]["query"] for call in calls[::2]] == row["metadata"]["queries"]
        shown = [message["content"] for message in row["messages"] if message["role"] == "tool"]
        for call, found, page in zip(calls[1::2], shown[::2], shown[1::2], strict=True):
            name = page.split('"')[1]
            assert f"[{call['arguments']['id']}] {name}" in found.split("\n")


def test_a_demonstration_without_flaw_follows_every_hop() -> None:
    for row in demonstrate(16, Demonstrator(lazy=0.0, noise=0.0)):
        queries = [json.loads(message["content"].split("\n")[1])["arguments"]["query"]
                   for message in row["messages"] if message["content"].startswith("<tool_call>")]  # fmt: skip
        assert queries == row["metadata"]["queries"]
        assert row["messages"][-1]["content"] == f"<answer> {row['metadata']['path'][-1]} </answer>"


def test_a_lazy_demonstration_answers_after_the_first_hop() -> None:
    for row in demonstrate(16, Demonstrator(lazy=1.0, noise=0.0)):
        assert len(row["messages"]) == 4
        assert row["messages"][-1]["content"] == f"<answer> {row['metadata']['path'][1]} </answer>"


def test_about_three_in_five_demonstrations_are_lazy() -> None:
    deep = [row for row in demonstrate(1200, Demonstrator(noise=0.0)) if row["metadata"]["hops"] > 1]
    # 900 draws of probability 0.6: four standard deviations are 0.065.
    assert sum(len(row["messages"]) == 4 for row in deep) / len(deep) == pytest.approx(0.6, abs=0.065)


def test_noise_searches_a_wrong_relation_of_the_right_entity() -> None:
    for row in demonstrate(16, Demonstrator(lazy=0.0, noise=1.0)):
        query = json.loads(row["messages"][1]["content"].split("\n")[1])["arguments"]["query"]
        assert query != row["metadata"]["queries"][0]
        assert query.endswith(f" of {row['metadata']['path'][0]}")
