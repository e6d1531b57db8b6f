"""Layouts of question-answering data: made-up rows of the shapes that the published files have."""

import json
from pathlib import Path
from typing import Any

import pytest

from lightning_agentrl.data.layouts import LAYOUTS, QuestionRow
from lightning_agentrl.data.readers import read_questions

HOTPOT = {
    "_id": "5a01",
    "question": "In which river's town was the painter of Grey Gulls born?",
    "answer": "Marl",
    "type": "bridge",
    "level": "hard",
    "supporting_facts": [["Grey Gulls", 0], ["Ada Flint", 0], ["Ada Flint", 2]],
    "context": [["Grey Gulls", ["Grey Gulls is a painting by Ada Flint.", " It hangs in Osk."]], ["Ada Flint", ["…"]]],
}
MUSIQUE = {
    "id": "3hop1__11_22_33",
    "paragraphs": [{"idx": 0, "title": "Osk", "paragraph_text": "Osk lies on the Marl.", "is_supporting": True}],
    "question": "Who chairs the council of the county of Osk?",
    "question_decomposition": [
        {"id": 11, "question": "Osk >> county", "answer": "Lund", "paragraph_support_idx": 0},
        {"id": 22, "question": "#1 >> council", "answer": "the Ring", "paragraph_support_idx": 3},
        {"id": 33, "question": "#2 >> chair", "answer": "Una Berg", "paragraph_support_idx": 7},
    ],
    "answer": "Una Berg",
    "answer_aliases": ["U. Berg", "Una Berg"],
    "answerable": True,
}
ROWS: dict[str, tuple[dict[str, Any], QuestionRow]] = {
    "flashrag": (
        {"id": "test_0", "question": "who built osk", "golden_answers": ["Ada", "Ada Flint"], "metadata": {"hops": 1}},
        QuestionRow("test_0", "who built osk", ("Ada", "Ada Flint"), {"hops": 1}),
    ),
    "flashrag, as Search-R1 trains on it": (
        {
            "id": "train_7",
            "question": "who built osk?",
            "golden_answers": ["Ada Flint"],
            "data_source": "nq",
            "prompt": [{"role": "user", "content": "Answer the given question. who built osk?"}],
            "reward_model": {"style": "rule", "ground_truth": {"target": ["Ada Flint"]}},
        },
        QuestionRow("train_7", "who built osk?", ("Ada Flint",)),
    ),
    "musique": (
        MUSIQUE,
        QuestionRow("3hop1__11_22_33", str(MUSIQUE["question"]), ("Una Berg", "U. Berg"), {"hops": 3}),
    ),
    "2wiki": (
        {
            "_id": "13f5ad2c",
            "type": "bridge_comparison",
            "question": "Were the painters of Grey Gulls and Red Barn born in one town?",
            "answer": "no",
            "supporting_facts": [["Grey Gulls", 0], ["Red Barn", 0], ["Ada Flint", 1], ["Ole Rask", 1]],
            "context": [["Grey Gulls", ["A painting by Ada Flint."]]],
            "evidences": [["Grey Gulls", "painter", "Ada Flint"]],
        },
        QuestionRow(
            "13f5ad2c",
            "Were the painters of Grey Gulls and Red Barn born in one town?",
            ("no",),
            {"hops": 4, "type": "bridge_comparison"},
        ),
    ),
    "hotpotqa": (
        HOTPOT,  # three facts, but two articles
        QuestionRow("5a01", str(HOTPOT["question"]), ("Marl",), {"hops": 2, "type": "bridge", "level": "hard"}),
    ),
    "hotpotqa in columns": (
        {
            **{"id" if key == "_id" else key: content for key, content in HOTPOT.items()},
            "supporting_facts": {"title": ["Grey Gulls", "Ada Flint", "Ada Flint"], "sent_id": [0, 0, 2]},
        },
        QuestionRow("5a01", str(HOTPOT["question"]), ("Marl",), {"hops": 2, "type": "bridge", "level": "hard"}),
    ),
    "bamboogle": (
        {"Question": "In which year was the mayor of Osk born?", "Answer": 1931},
        QuestionRow("rows-1", "In which year was the mayor of Osk born?", ("1931",)),
    ),
    "verl": (
        {
            "data_source": "deep_search",
            "prompt": [{"role": "system", "content": "Search."}, {"role": "user", "content": "Who built Osk?"}],
            "reward_model": {"style": "rule", "ground_truth": {"target": ["Ada Flint"]}},
        },
        QuestionRow("rows-1", "Who built Osk?", ("Ada Flint",), {"data_source": "deep_search"}),
    ),
    "verl with a bare truth": (
        {"prompt": [{"role": "user", "content": "Who built Osk?"}], "reward_model": {"ground_truth": "Ada Flint"}},
        QuestionRow("rows-1", "Who built Osk?", ("Ada Flint",)),
    ),
    "plain, as NQ-open": (
        {"question": "who built osk", "answer": ["Ada Flint", "A. Flint"]},
        QuestionRow("rows-1", "who built osk", ("Ada Flint", "A. Flint")),
    ),
    "plain, as DPR's retriever data": (
        {"question": "who built osk", "answers": ["Ada Flint"], "positive_ctxs": []},
        QuestionRow("rows-1", "who built osk", ("Ada Flint",)),
    ),
    "plain, as TriviaQA": (
        {"question_id": "tc_1", "question": "Who built Osk?", "answer": {"value": "Ada", "aliases": ["Ada", "Flint"]}},
        QuestionRow("tc_1", "Who built Osk?", ("Ada", "Flint")),
    ),
}


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ROWS)
def test_a_layout_is_told_by_its_keys(name: str, tmp_path: Path) -> None:
    row, expected = ROWS[name]
    assert read_questions(write(tmp_path / "rows.jsonl", row)) == [expected]


@pytest.mark.parametrize("name", ROWS)
def test_a_layout_may_be_named(name: str, tmp_path: Path) -> None:
    row, expected = ROWS[name]
    layout: Any = name.split(",")[0].split(" ")[0]
    assert read_questions(write(tmp_path / "rows.jsonl", row), layout=layout) == [expected]


def test_a_named_layout_goes_before_the_keys(tmp_path: Path) -> None:
    row = {"id": "1", "question": "Who?", "golden_answers": ["Ada"], "answer": "Una"}
    assert read_questions(write(tmp_path / "rows.jsonl", row), layout="plain")[0].answers == ("Una",)


def test_no_fitting_layout_is_an_error_that_names_keys_seen_and_keys_known(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="in no known layout") as caught:
        read_questions(write(tmp_path / "rows.jsonl", {"query": "Who?", "gold": "Ada"}))
    assert "its rows have query, gold." in str(caught.value)
    assert all(f"{name} ({', '.join(layout.keys)})" in str(caught.value) for name, layout in LAYOUTS.items())


@pytest.mark.parametrize("missing", [{}, {"id": None}, {"_id": None}])
def test_a_row_without_an_id_is_known_by_file_and_line(missing: dict[str, None], tmp_path: Path) -> None:
    row = {**missing, "question": "Who?", "golden_answers": ["Ada", 7, "Ada"]}
    assert read_questions(write(tmp_path / "rows.jsonl", row)) == [QuestionRow("rows-1", "Who?", ("Ada", "7"))]


def test_a_bad_first_row_does_not_hide_the_layout(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", ["no object"], {"Question": "Who?"}, ROWS["bamboogle"][0])
    with pytest.warns(UserWarning, match="Skipped 2 bad rows"):
        assert [row.id for row in read_questions(path)] == ["rows-3"]


def test_a_missing_key_of_musique_is_named(tmp_path: Path) -> None:
    short = {key: value for key, value in MUSIQUE.items() if key != "question_decomposition"}
    path = write(tmp_path / "rows.jsonl", MUSIQUE, {**short, "id": "other"})
    with pytest.warns(UserWarning, match="line 2: question_decomposition is missing; the row has id"):
        assert len(read_questions(path)) == 1


def test_a_question_that_musique_marks_as_not_answerable_is_a_bad_row(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", MUSIQUE, {**MUSIQUE, "id": "other", "answerable": False})
    with pytest.warns(UserWarning, match="line 2: the question is marked as not answerable"):
        assert len(read_questions(path)) == 1


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({**HOTPOT, "_id": "x", "supporting_facts": 3}, "a key holds something else than this layout has there"),
        ({**HOTPOT, "_id": "x", "answer": ""}, "an answer is empty"),
        ({**HOTPOT, "_id": "x", "answer": []}, "the list of answers is empty"),
        ({**HOTPOT, "_id": "x", "answer": True}, "an answer must be a text, got bool"),
        ({"_id": "x", "question": "Who?"}, "answer is missing"),
        ({**HOTPOT, "_id": "x", "question": None}, "question must be a text, got NoneType"),
    ],
)
def test_a_row_that_does_not_keep_to_the_layout_is_skipped_with_its_reason(
    row: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "rows.jsonl", HOTPOT, row)
    with pytest.warns(UserWarning, match=f"rows.jsonl, line 2: .*{reason}"):
        assert [good.id for good in read_questions(path)] == ["5a01"]
