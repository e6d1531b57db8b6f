"""The tools of an attempt at a repository: what they show, change and refuse."""

from collections.abc import Iterator
from typing import Any

import pytest
from repairs import call, file_of, mending, play, roman, started

from lightning_agentrl.environments.repair import Repair
from lightning_agentrl.environments.repair.workspace import MOST_CHARACTERS
from lightning_agentrl.types import Action, ParsedCall, Task


@pytest.fixture(scope="module")
def environment() -> Iterator[Repair]:
    environment = started()
    yield environment
    environment.close()


@pytest.fixture(scope="module")
def task(environment: Repair) -> Task:
    return roman(environment)


def test_files_are_viewed_with_the_numbers_of_their_lines(environment: Repair, task: Task) -> None:
    path = file_of(environment, task)
    lines = environment._repositories[task.id].files[path].split("\n")
    (part, whole, from_3), _ = play(
        environment,
        task,
        call("view", path=path, start=1, end=2),
        call("view", path=path),
        call("view", path=path, start=3.0),
    )
    assert part.results[0] == f"1\t{lines[0]}\n2\t{lines[1]}"
    assert whole.results[0].startswith(part.results[0])
    assert from_3.results[0].startswith(f"3\t{lines[2]}\n")


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../roman.py", "roman", "", ".", "roman.py/", "a/../../roman.py", "//roman.py", "\0"]
)
def test_no_path_leads_out_of_the_repository(environment: Repair, task: Task, path: str) -> None:
    actions = [call("view", path=path), call("edit", path=path, old="a", new="b")]
    heard, _ = play(environment, task, *actions)
    if path == "roman.py/":  # means the file
        return
    for one in heard:
        assert one.tool_calls[0].error_kind == "no_file"
        assert one.results[0].endswith("only roman.py, test_roman.py.")


@pytest.mark.parametrize("path", ["./roman.py", "tests/../roman.py"])
def test_a_roundabout_path_inside_is_fine(environment: Repair, task: Task, path: str) -> None:
    assert play(environment, task, call("view", path=path))[0][0].tool_calls[0].ok


@pytest.mark.parametrize(
    ("name", "arguments", "kind", "text"),
    [
        ("view", {"path": "roman.py", "start": 0}, "bad_range", "not 0 to"),
        ("view", {"path": "roman.py", "start": 9, "end": 3}, "bad_range", "not 9 to 3"),
        ("view", {"path": "roman.py", "start": 9999}, "bad_range", "has lines 1 to"),
        ("search", {"text": ""}, "empty_text", "nothing to look for"),
        (
            "edit",
            {"path": "roman.py", "old": "def ", "new": "x"},
            "no_single_match",
            "occurs 3 times in roman.py, at lines",
        ),
        ("edit", {"path": "roman.py", "old": " ", "new": "x"}, "no_single_match", "old is empty"),
        (
            "edit",
            {"path": "roman.py", "old": "def from_romn(", "new": "x"},
            "no_single_match",
            "close: def from_roman(",
        ),
        ("edit", {"path": "roman.py", "old": "zzzzzzz", "new": "x"}, "no_single_match", "letter by letter."),
        ("edit", {"path": "roman.py", "old": "def to_roman", "new": "def to_roman"}, "no_change", "are the same"),
        (
            "edit",
            {"path": "roman.py", "old": "def to_roman", "new": "x" * MOST_CHARACTERS},
            "too_long",
            "at most 20000",
        ),
    ],
)
def test_a_mistaken_call_says_what_to_do(
    environment: Repair, task: Task, name: str, arguments: dict[str, Any], kind: str, text: str
) -> None:
    (heard,), _ = play(environment, task, call(name, **arguments))
    assert (heard.tool_calls[0].error_kind, heard.done) == (kind, False)
    assert text in heard.results[0]


def test_a_search_shows_places_and_is_letter_by_letter(environment: Repair, task: Task) -> None:
    (found, none), _ = play(environment, task, call("search", text="def to_roman("), call("search", text="def .*"))
    assert found.results[0].startswith("roman.py:")
    assert "def to_roman(number: int)" in found.results[0]
    assert none.results[0] == "Nothing found."


def test_tests_that_come_behind_an_edit_in_a_turn_see_it(environment: Repair, task: Task) -> None:
    edit = mending(environment._repositories[task.id])
    both = Action("", (*edit.calls, ParsedCall("run_tests", {})))
    (heard,), _ = play(environment, task, both)
    assert heard.results[1].endswith(" 0 failed")


def test_a_file_that_is_no_python_is_reported(environment: Repair, task: Task) -> None:
    broken = call("edit", path="roman.py", old="def to_roman(", new="def to_roman((")
    (_, heard), reward = play(environment, task, broken, call("run_tests"))
    assert "test_roman.py cannot be imported: SyntaxError" in heard.results[0]
    assert reward.components["cases"] == 0.0


def test_half_a_surrogate_pair_in_an_edit_does_no_harm(environment: Repair, task: Task) -> None:
    edit = call("edit", path="roman.py", old="Roman numerals from 1", new="\ud800")
    (heard, seen), _ = play(environment, task, edit, call("view", path="roman.py", end=1))
    assert heard.tool_calls[0].ok
    assert "?" in seen.results[0]
