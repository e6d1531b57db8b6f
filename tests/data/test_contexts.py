"""make_corpus: the paragraphs beside questions become a corpus."""

import json
from pathlib import Path
from typing import Any

import pytest

from lightning_agentrl.data.contexts import make_corpus
from lightning_agentrl.data.readers import Passage, read_passages

HOTPOT = {"_id": "1", "context": [["Osk", ["Osk is a town.", " It lies on the Marl."]], ["Empty", []]]}
COLUMNS = {"id": "2", "context": {"title": ["Osk", "Marl"], "sentences": [["Osk is a town."], ["A river. ", "Long."]]}}
MUSIQUE = {"id": "3", "paragraphs": [{"title": "Osk", "paragraph_text": "Osk is a town. It lies on the Marl."}]}


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_every_different_paragraph_becomes_one_passage(tmp_path: Path) -> None:
    one, other = write(tmp_path / "a.jsonl", HOTPOT, COLUMNS), write(tmp_path / "b.jsonl", MUSIQUE)
    said = make_corpus([one, other], tmp_path / "corpus.jsonl")
    assert said == f"Wrote 3 passages beside 3 questions to {tmp_path / 'corpus.jsonl'}."
    assert read_passages(tmp_path / "corpus.jsonl") == [
        Passage("0", '"Osk"\nOsk is a town. It lies on the Marl.'),
        Passage("1", '"Osk"\nOsk is a town.'),
        Passage("2", '"Marl"\nA river. Long.'),
    ]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"id": "9", "question": "Who?"}, "neither context nor paragraphs with text; the row has id, question"),
        ({"id": "9", "context": [["Osk"]]}, "not enough values to unpack"),
        ({"id": "9", "context": 7}, "another form"),
        ({"id": "9", "paragraphs": [{"title": "Osk"}]}, "another form"),
    ],
)
def test_a_question_without_paragraphs_is_skipped_with_its_reason(row: Any, reason: str, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=f"line 2: .*{reason}"):
        make_corpus([write(tmp_path / "a.jsonl", MUSIQUE, row)], tmp_path / "corpus.jsonl")


def test_a_failed_attempt_leaves_the_old_corpus(tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_text("old")
    with pytest.raises(ValueError, match="no usable row"):
        make_corpus([write(tmp_path / "a.jsonl", {"id": "9"})], tmp_path / "corpus.jsonl")
    assert (tmp_path / "corpus.jsonl").read_text() == "old"
