"""Opinions of several assigners as tables: CSV for programs, rich tables for people."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from lightning_agentrl.inspector.opinions import Agreement, Opinion

SUMMARY = {
    "zero credit": "zero_credit_share",
    "mean": "advantage_mean",
    "spread": "advantage_std",
    "length corr.": "length_correlation",
}
"""Columns of the summary, and the numbers behind them."""
SHOWN = 60
"""Characters of a turn's text."""


def turn_rows(records: Sequence[Mapping[str, Any]], opinions: Sequence[Opinion]) -> Iterable[dict[str, Any]]:
    """One row per turn of each rollout: where it is, what was said, what each assigner gave."""
    credits = {opinion.label: opinion.turns.tolist() for opinion in opinions}
    trained = {opinion.label: opinion.trained.tolist() for opinion in opinions}
    for row, record in enumerate(records):
        for number, turn in enumerate(record["turns"]):
            yield {
                "group": record["group"],
                "task": record["task"],
                "sample": record["sample"],
                "reward": record["reward"],
                "turn": number + 1,
                "turns": len(record["turns"]),
                "tokens": len(turn["tokens"]),
                "tool": " ".join(call["name"] for call in turn["tool_calls"]),
                "text": turn["action"],
                **{label: credits[label][row][number] if trained[label][row][number] else None for label in credits},
            }


def write_csv(path: Path, records: Sequence[Mapping[str, Any]], opinions: Sequence[Opinion]) -> None:
    """Every turn as a row; a turn that an assigner does not train has an empty field."""
    rows = list(turn_rows(records, opinions))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else ["group"])
        writer.writeheader()
        writer.writerows(rows)


def summary(opinions: Sequence[Opinion]) -> Table:
    """One line per assigner."""
    table = Table(title="Credit, over trained tokens", title_justify="left")
    for column in ("assigner", *SUMMARY, "drift", "by turn"):
        table.add_column(column, justify="left" if column in ("assigner", "by turn") else "right")
    for opinion in opinions:
        numbers = [_number(opinion.numbers[name]) for name in SUMMARY.values()]
        means = [
            value for name, value in opinion.numbers.items() if name.startswith("turn_") and name.endswith("_mean")
        ]
        by_turn = " ".join(f"{round(value, 2) + 0.0:.2f}" for value in means)  # + 0 makes −0 plain
        table.add_row(Text(opinion.label), *numbers, _number(opinion.drift), by_turn)
    return table


def comparison(agreements: Sequence[Agreement], cosines: Mapping[tuple[str, str], float]) -> Table:
    """One line per pair of assigners."""
    table = Table(title="Agreement, over the turns that both train", title_justify="left")
    for column in ("pair", "turns", "sign flips", "one-sided", "rank corr.", *(["gradient cosine"] if cosines else [])):
        table.add_column(column, justify="left" if column == "pair" else "right")
    for pair in agreements:
        shares = [f"{pair.sign_flips:.1%}", f"{pair.one_sided:.1%}", _number(pair.rank_correlation)]
        cosine = [_number(cosines[pair.first, pair.second])] if cosines else []
        table.add_row(Text(f"{pair.first} / {pair.second}"), str(pair.turns), *shares, *cosine)
    return table


def examples(records: Sequence[Mapping[str, Any]], opinions: Sequence[Opinion], count: int) -> Group:
    """The rollouts on which the assigners differ most, turn by turn."""
    rows = list(turn_rows(records, opinions))
    by_rollout: dict[tuple[Any, Any], list[dict[str, Any]]] = {}
    for row in rows:
        by_rollout.setdefault((row["group"], row["sample"]), []).append(row)
    chosen = sorted(by_rollout.values(), key=lambda turns: -_disagreement(turns, opinions))[:count]
    return Group(*(_example(turns, opinions) for turns in chosen))


def _example(turns: Sequence[Mapping[str, Any]], opinions: Sequence[Opinion]) -> Table:
    first = turns[0]
    title = f"task {_printable(first['task'])}, sample {first['sample']}, reward {_number(first['reward'])}"
    table = Table(title=Text(title), title_justify="left")
    table.add_column("turn", justify="right")
    table.add_column("said")
    for opinion in opinions:
        table.add_column(Text(opinion.label), justify="right")
    for turn in turns:
        said = _printable(turn["text"])
        cells = [_coloured(turn[opinion.label]) for opinion in opinions]
        table.add_row(str(turn["turn"]), Text(said[:SHOWN] + "…" * (len(said) > SHOWN)), *cells)
    return table


def _disagreement(turns: Sequence[Mapping[str, Any]], opinions: Sequence[Opinion]) -> float:
    """Greatest distance between two assigners' credit of a turn, in units of each one's own spread."""
    scales = {opinion.label: opinion.numbers["advantage_std"] or 1.0 for opinion in opinions}
    spreads = [
        [turn[label] / scale for label, scale in scales.items() if turn[label] is not None] or [0.0] for turn in turns
    ]
    return max((float(max(values) - min(values)) for values in spreads), default=0.0)


def _coloured(value: float | None) -> Text:
    """Blue is reinforced and red discouraged, as in the figures; the sign says so as well."""
    if value is None:
        return Text("–", style="dim")
    return Text(f"{value:+.2f}", style="blue" if value > 0 else "red" if value < 0 else "dim")


def _printable(text: str) -> str:
    """On one line, without what would steer a terminal."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in " ".join(text.split()))


def _number(value: float | None) -> str:
    return "–" if value is None else f"{round(value, 3) + 0.0:.3f}"
