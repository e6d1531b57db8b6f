"""Writes a built-in world: passages or pages, questions and demonstrations (`agentrl make-data`)."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, Literal, NamedTuple

from lightning_agentrl.data import iso_world, synthetic_world
from lightning_agentrl.data.questions import draw_questions
from lightning_agentrl.data.worlds import World
from lightning_agentrl.environments.libraries import Library, PageLibrary, PassageLibrary
from lightning_agentrl.environments.search_demonstrations import Demonstrator, make_demonstrations

WorldName = Literal["synthetic", "iso", "pages"]

FILES = ("corpus.jsonl", "train.jsonl", "validation.jsonl", "demonstrations.jsonl", "world.json")
LAYOUT: Mapping[WorldName, int] = {"synthetic": 1, "iso": 1, "pages": 2}
"""By world; raise it when the same parameters should give other files."""
PER_WORLD = 1000
"""Demonstrations from each shuffled world."""
PAGES_MAX_HOPS = 3
"""Each hop takes two calls there."""


def make_data(
    world: WorldName,
    out: Path,
    *,
    seed: int = 0,
    top_k: int = 3,
    questions: int = 2048,
    validation: int = 128,
    demonstrations: int = 16000,
    lazy: float = 0.65,
    noise: float = 0.02,
) -> str:
    """Write the passages, questions and demonstrations of a built-in world into a folder.

    The same parameters give the same files; a folder that already holds them is left alone. Files appear complete or
    not at all.

    Args:
        world: "synthetic" has made-up people and places and 1-4 hops; "iso" has real subdivisions, countries and codes
            (needs lightning-agentrl[data]) and 1-3 hops; "pages" is "synthetic" with 1-3 hops, for a search that shows
            titles alone and a tool that opens the page.
        out: folder to write corpus.jsonl, train.jsonl, validation.jsonl, demonstrations.jsonl and world.json to.
        seed: seed of the world, of the choice of questions and of the demonstrations.
        top_k: passages per search result in the demonstrations; train with the same number.
        questions: number of training questions.
        validation: number of validation questions, evenly over depths; none of them is a training question.
        demonstrations: number of demonstrations for the cold start.
        lazy: share of demonstrations that answer after the first hop.
        noise: probability per hop that a demonstration searches a wrong relation.

    Returns:
        One line that says what was done.
    """
    parameters: dict[str, Any] = {"world": world, "seed": seed, "top_k": top_k, "questions": questions}
    parameters |= {"validation": validation, "demonstrations": demonstrations, "lazy": lazy, "noise": noise}
    parameters["layout"] = LAYOUT.get(world)
    if min(questions, validation) < 1 or demonstrations < 0 or top_k < 1:
        raise ValueError(f"make-data needs positive numbers of questions and results, got {parameters}.")
    if _holds(out, parameters):
        return f"{out} already holds this data; nothing to do."
    demonstrator = Demonstrator(lazy, noise)
    drawn_from, shuffled, max_hops, library = _worlds(world, seed, demonstrations)
    base = library(drawn_from, top_k)
    usable = base.findable()
    drawn = draw_questions(drawn_from, validation + questions, max_hops, Random(f"questions {seed}"), usable=usable)
    held_out = frozenset(question.text for question in drawn[:validation])
    rows = make_demonstrations(
        shuffled,
        demonstrations,
        demonstrator,
        Random(f"demonstrator {seed}"),
        top_k=top_k,
        max_hops=max_hops,
        exclude=held_out,
        library=library,
    )
    counts = {"passages": len(base.texts), "facts": len(drawn_from.facts), "findable_facts": len(usable)}
    _write(
        out,
        {
            "corpus.jsonl": base.rows,
            "train.jsonl": (question.row(f"train-{n}") for n, question in enumerate(drawn[validation:])),
            "validation.jsonl": (question.row(f"validation-{n}") for n, question in enumerate(drawn[:validation])),
            "demonstrations.jsonl": rows,
        },
        {"parameters": parameters, "max_hops": max_hops, **counts},
    )
    return (
        f"Wrote {counts['passages']} passages, {questions} training questions, {validation} validation questions and "
        f"{demonstrations} demonstrations to {out}."
    )


class Built(NamedTuple):
    """What a built-in world is made of."""

    world: World
    """To train on."""
    shuffled: Sequence[World]
    """To demonstrate in."""
    max_hops: int
    library: Callable[[World, int], Library]
    """How it is shown."""


def _worlds(name: WorldName, seed: int, demonstrations: int) -> Built:
    chances = [Random(f"demonstrations {seed} {n}") for n in range(0, max(demonstrations, 1), PER_WORLD)]
    if name in ("synthetic", "pages"):
        fresh = [synthetic_world.synthetic_world(chance) for chance in chances]
        drawn = synthetic_world.synthetic_world(Random(f"world {seed}"))
        if name == "pages":
            return Built(drawn, fresh, PAGES_MAX_HOPS, PageLibrary)
        return Built(drawn, fresh, synthetic_world.MAX_HOPS, PassageLibrary)
    if name == "iso":
        real = iso_world.iso_world()
        return Built(real, [real.shuffled(chance) for chance in chances], iso_world.MAX_HOPS, PassageLibrary)
    raise ValueError(f"world must be 'synthetic', 'iso' or 'pages', got {name!r}.")


def _holds(out: Path, parameters: Mapping[str, Any]) -> bool:
    """Whether the folder was written with these parameters and is complete."""
    if not all((out / name).is_file() for name in FILES):
        return False
    try:
        described = json.loads((out / "world.json").read_text(encoding="utf-8"))
    except ValueError:
        return False
    return isinstance(described, dict) and described.get("parameters") == parameters


def _write(out: Path, tables: Mapping[str, Iterable[Mapping[str, Any]]], description: Mapping[str, Any]) -> None:
    """Write beside the folder first; the description, which marks the data as complete, moves in last."""
    out.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=out))
    try:
        for name, rows in tables.items():
            with (partial / name).open("w", encoding="utf-8") as file:
                file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (partial / "world.json").write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
        (out / "world.json").unlink(missing_ok=True)
        for name in FILES:
            os.replace(partial / name, out / name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
