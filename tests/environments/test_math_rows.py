"""Files of problems whose answers stand in a column of their own or in a worked solution."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from problems import written

from lightning_agentrl.environments.math_rows import MathColumns, read_problems

GSM8K = {"question": "How many?", "answer": "First 3 + 4 = <<3+4=7>>7.\n#### 1,234"}
MATH = {
    "problem": "How many?",
    "level": "Level 5",
    "type": "Algebra",
    "solution": r"Not \boxed{1} but $\boxed{\frac{1}{2}}$.",
}


@pytest.mark.parametrize(
    ("row", "columns", "answers"),
    [
        (GSM8K, MathColumns("question", "answer", "#### (.+)"), ("1,234",)),
        (MATH, MathColumns(answer="solution", answer_pattern="boxed"), (r"\frac{1}{2}",)),
        ({"problem": "a", "answer": 7}, MathColumns(), ("7",)),
        ({"problem": "a", "answer": 0.5}, MathColumns(), ("0.5",)),
        ({"problem": "a", "answer": [" 1/2", "0.5", "1/2"]}, MathColumns(), ("1/2", "0.5")),
        ({"problem": "a", "answer": ["x = 1", "x = 2"]}, MathColumns(answer_pattern="= (.)"), ("1", "2")),
    ],
)
def test_answers_are_found_where_files_have_them(
    tmp_path: Path, row: dict[str, Any], columns: MathColumns, answers: tuple[str, ...]
) -> None:
    (read,) = read_problems(written(tmp_path / "rows.jsonl", [row]), columns)
    assert (read.answers, read.id) == (answers, "rows-1")


def test_further_columns_become_meta_data(tmp_path: Path) -> None:
    row = {**MATH, "id": 17, "metadata": {"hops": 2}}
    columns = MathColumns(answer="solution", answer_pattern="boxed")
    (read,) = read_problems(written(tmp_path / "rows.jsonl", [row]), columns)
    assert (read.id, read.metadata) == ("17", {"level": "Level 5", "type": "Algebra", "hops": 2})


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"problem": "a"}, "answer is missing; the row has problem"),
        ({"problem": " ", "answer": "#### 1"}, "problem is empty"),
        ({"problem": "a", "answer": True}, "answer must be a text, got bool"),
        ({"problem": "a", "answer": None}, "answer must be a text, got NoneType"),
        ({"problem": "a", "answer": []}, "answer is an empty list"),
        ({"problem": "a", "answer": "seven"}, "holds no match of answer_pattern"),
        ({"problem": "a", "answer": "####  "}, "the answer in answer is empty"),
        ({"problem": "a", "answer": "#### 1", "metadata": "easy"}, "metadata must be an object, got str"),
        ([1], "a row must be an object, got list"),
    ],
)
def test_rows_that_cannot_be_used_are_told_with_the_reason(tmp_path: Path, row: Any, reason: str) -> None:
    good = {"problem": "a", "answer": "#### 1"}
    path = written(tmp_path / "rows.jsonl", [good, row])
    with pytest.warns(UserWarning, match=reason):
        assert len(read_problems(path, MathColumns(answer_pattern="####(.*)"))) == 1
    with pytest.raises(ValueError, match=reason):
        read_problems(path, MathColumns(answer_pattern="####(.*)"), max_bad_rows=0)


@pytest.mark.parametrize("pattern", ["(", "no group", "(two) (groups)"])
def test_answer_patterns_need_one_group(pattern: str) -> None:
    with pytest.raises(ValueError, match="answer_pattern"):
        MathColumns(answer_pattern=pattern)
