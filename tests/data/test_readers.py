"""Readers: layouts, bad rows, limits."""

import gzip
import json
from pathlib import Path

import pytest

from lightning_agentrl.data.readers import Passage, read_passages, read_questions

GOOD = {"id": "q1", "question": "Was ist größer?", "golden_answers": ["東京", "Tōkyō"], "metadata": {"hops": 2}}


def write(path: Path, *rows: object) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_unicode_and_metadata_survive(tmp_path: Path) -> None:
    row = read_questions(write(tmp_path / "q.jsonl", GOOD))[0]
    assert (row.question, row.answers, row.metadata) == ("Was ist größer?", ("東京", "Tōkyō"), {"hops": 2})


def test_a_gzipped_corpus_reads_like_a_plain_one(tmp_path: Path) -> None:
    line = '{"id": 7, "contents": "\\"Anra\\"\\nThe mentor of Anra is Bodor."}\n'
    (tmp_path / "c.jsonl").write_text(line)
    with gzip.open(tmp_path / "c.jsonl.gz", "wt") as file:
        file.write(line)
    assert read_passages(tmp_path / "c.jsonl.gz") == read_passages(tmp_path / "c.jsonl")


def test_a_parquet_file_reads_like_json_lines(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.Table.from_pylist([GOOD]), tmp_path / "q.parquet")
    assert read_questions(tmp_path / "q.parquet") == read_questions(write(tmp_path / "q.jsonl", GOOD))


def test_half_a_parquet_file_is_refused_by_name(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "q.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(ValueError, match=r"q\.parquet is not a whole Parquet file"):
        read_questions(tmp_path / "q.parquet")


def test_a_parquet_file_with_a_damaged_page_is_refused_by_name(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "q.parquet"
    parquet.write_table(pyarrow.Table.from_pylist([{**GOOD, "id": str(n)} for n in range(3000)]), path)
    whole = path.read_bytes()
    path.write_bytes(whole[:200] + b"\xff" * 100 + whole[300:])
    with pytest.raises(ValueError, match=r"q\.parquet is not a whole Parquet file"):
        read_questions(path)


def test_a_json_array_reads_like_json_lines(tmp_path: Path) -> None:
    (tmp_path / "q.json").write_text(json.dumps([GOOD], indent=1), encoding="utf-8")
    assert read_questions(tmp_path / "q.json") == read_questions(write(tmp_path / "q.jsonl", GOOD))


def test_a_json_file_may_hold_lines(tmp_path: Path) -> None:
    assert read_questions(write(tmp_path / "q.json", GOOD)) == read_questions(write(tmp_path / "q.jsonl", GOOD))


def test_half_a_json_array_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "q.json").write_text(json.dumps([GOOD])[:-3])
    with pytest.raises(ValueError, match=r"q\.json is not a whole JSON array"):
        read_questions(tmp_path / "q.json")


def saved_dataset(folder: Path, *shards: list[dict[str, object]]) -> Path:
    """As `Dataset.save_to_disk` writes it: Arrow streams, and a state that names them."""
    pyarrow = pytest.importorskip("pyarrow")
    folder.mkdir(parents=True)
    names = [f"data-{number:05}-of-{len(shards):05}.arrow" for number in range(len(shards))]
    for name, rows in zip(names, shards, strict=True):
        table = pyarrow.Table.from_pylist(rows)
        with pyarrow.OSFile(str(folder / name), "wb") as file, pyarrow.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    return folder


def test_a_saved_dataset_reads_like_json_lines(tmp_path: Path) -> None:
    other = {**GOOD, "id": "q2"}
    folder = saved_dataset(tmp_path / "saved", [GOOD], [other])
    assert read_questions(folder) == read_questions(write(tmp_path / "q.jsonl", GOOD, other))


def test_saved_splits_are_to_be_named_one_by_one(tmp_path: Path) -> None:
    saved_dataset(tmp_path / "train", [GOOD])
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    with pytest.raises(ValueError, match="several splits; name the folder of one of them: train, test"):
        read_questions(tmp_path)


def test_half_a_saved_dataset_is_refused_by_name(tmp_path: Path) -> None:
    folder = saved_dataset(tmp_path / "saved", [GOOD])
    whole = (folder / "data-00000-of-00001.arrow").read_bytes()
    (folder / "data-00000-of-00001.arrow").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"00001\.arrow is not a whole Arrow stream"):
        read_questions(folder)


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"without the state\.json of a saved dataset"):
        read_questions(tmp_path)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"id": 7, "contents": "Osk is a town."}, Passage("7", "Osk is a town.")),
        ({"id": "7", "title": "Osk", "text": "A town."}, Passage("7", '"Osk"\nA town.')),
        ({"_id": "7", "title": "", "text": "A town."}, Passage("7", "A town.")),
        ({"url": "https://osk.example", "text": "A town."}, Passage("https://osk.example", "A town.")),
    ],
)
def test_a_passage_may_have_contents_or_title_and_text(row: object, expected: Passage, tmp_path: Path) -> None:
    assert read_passages(write(tmp_path / "c.jsonl", row)) == [expected]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ('{"id": "q2", "question": "Wh', "not valid JSON"),
        ({"id": "q2", "question": "Who?"}, "golden_answers is missing"),
        ({"id": "q2", "question": 3, "golden_answers": ["a"]}, "question must be a text, got int"),
        ({"id": "q2", "question": " ", "golden_answers": ["a"]}, "question is empty"),
        ({"id": "q2", "question": "Who?", "golden_answers": []}, "golden_answers must be a list of one or more"),
        ({"id": "q2", "question": "Who?", "golden_answers": "a"}, "golden_answers must be a list of one or more"),
        ({"id": "q2", "question": "Who?", "golden_answers": [None]}, "an answer must be a text, got NoneType"),
        ({"id": "q2", "question": "Who?", "golden_answers": ["a"], "metadata": [1]}, "metadata must be an object"),
        ({"id": True, "question": "Who?", "golden_answers": ["a"]}, "id must be a text or a whole number"),
        ({**GOOD, "question": "Again?"}, "id 'q1' was used before"),
        ('{"id": "q2", "question": "\\ud800", "golden_answers": ["a"]}', "not valid Unicode"),
        ("[1, 2]", "a row must be an object, got list"),
        ("[" * 100_000, "recursion"),
    ],
)
def test_a_bad_row_is_skipped_with_file_line_and_reason(tmp_path: Path, row: object, reason: str) -> None:
    path = write(tmp_path / "q.jsonl", GOOD, "", row)
    with pytest.warns(UserWarning, match=f"q.jsonl, line 3: .*{reason}"):
        assert [good.id for good in read_questions(path)] == ["q1"]


def test_bytes_that_are_no_utf8_make_a_bad_row(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_bytes(b'{"id": "1", "contents": "ok"}\n{"id": "2", "contents": "\xff"}\n')
    with pytest.warns(UserWarning, match="line 2: not valid Unicode"):
        assert read_passages(path) == [Passage("1", "ok")]


def test_more_bad_rows_than_allowed_are_one_error_that_lists_the_first_five(tmp_path: Path) -> None:
    path = write(tmp_path / "q.jsonl", GOOD, *(["{"] * 7))
    with pytest.raises(ValueError, match="more than 6 bad rows") as caught:
        read_questions(path, max_bad_rows=6)
    assert [f"line {n}:" in str(caught.value) for n in range(2, 9)] == [True] * 5 + [False] * 2


def test_as_many_bad_rows_as_allowed_are_only_a_warning(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Skipped 2 bad rows"):
        read_questions(write(tmp_path / "q.jsonl", GOOD, "{", "{"), max_bad_rows=2)


def test_a_file_without_a_usable_row_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no usable row"):
        read_passages(write(tmp_path / "c.jsonl", ""))


def test_a_cut_gzip_file_is_an_error_that_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl.gz"
    rows = "".join(json.dumps({"id": n, "contents": f"text {n * 7919}"}) + "\n" for n in range(2000))
    path.write_bytes(gzip.compress(rows.encode())[:-500])
    with pytest.raises(ValueError, match=r"c\.jsonl\.gz is damaged after line \d+"):
        read_passages(path)
