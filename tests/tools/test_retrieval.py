"""BM25: ranking, the stored index, and what a retriever finds."""

import asyncio
import json
import threading
from pathlib import Path
from random import Random
from typing import Any

import pytest

from lightning_agentrl.data.iso_world import iso_world
from lightning_agentrl.data.readers import Passage
from lightning_agentrl.data.synthetic_world import synthetic_world
from lightning_agentrl.tools.retrieval import BM25, Hit, Ranking, bm25, stored

PASSAGES = [
    '"Kelto"\nThe mentor of Kelto is Anra.',
    '"Anra"\nThe mentor of Anra is Bodor.',
    '"Anra"\nThe rival of Anra is Kelto.',
    '"İzmir"\nThe country of İzmir is Türkiye.',
]


def corpus(folder: Path, *texts: str) -> Path:
    path = folder / "corpus.jsonl"
    rows = ({"id": f"p{number}", "contents": text} for number, text in enumerate(texts or PASSAGES))
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def found(retriever: Any, query: str, k: int = 3) -> list[str]:
    (hits,) = asyncio.run(retriever.search([query], k))
    return [hit.id for hit in hits]


def test_the_passage_titled_with_the_subject_comes_first() -> None:
    assert Ranking.of(PASSAGES).rank("mentor of Anra", 1) == [1]


def test_equal_scores_keep_the_order_of_passages() -> None:
    assert Ranking.of(["red fox"] * 40 + ["blue fox"]).rank("red", 30) == list(range(30))


def test_unrelated_passages_are_not_found() -> None:
    assert Ranking.of(PASSAGES).rank("Türkiye", 3) == [3]


def test_more_results_than_passages_are_no_error() -> None:
    assert Ranking.of(PASSAGES).rank("mentor", 50) == [0, 1]


@pytest.mark.parametrize("query", ["zzz", "the of", "?!", "a"])
def test_a_query_that_matches_nothing_finds_nothing(query: str) -> None:
    assert Ranking.of(PASSAGES).rank(query, 3) == []


def test_every_query_of_a_batch_has_its_own_hits() -> None:
    hits = asyncio.run(Ranking.of(PASSAGES).search(["zzz", "Türkiye", "rival"], 1))
    assert [[hit.id for hit in of_one] for of_one in hits] == [[], ["3"], ["2"]]


def test_a_large_collection_is_searched_beside_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_agentrl.tools.retrieval.ranking.QUICK", 3)
    ranking = Ranking.of(PASSAGES)
    threads: list[str] = []
    monkeypatch.setattr(
        Ranking, "hits", lambda self, query, k: threads.append(threading.current_thread().name) or [Hit(query, "")]
    )
    assert found(ranking, "x") == ["x"]
    assert threads == ["agentrl-tool"]


def test_passages_without_a_single_word_are_refused() -> None:
    with pytest.raises(ValueError, match="No passage holds a word"):
        Ranking.of(["a", "?!"])


def test_a_hit_tells_title_and_text_apart() -> None:
    hit = Hit("0", PASSAGES[0])
    assert (hit.title, hit.text) == ("Kelto", "The mentor of Kelto is Anra.")


@pytest.mark.parametrize("contents", ["No title here.", '"Only a quotation"', "Two\nlines"])
def test_contents_without_a_quoted_first_line_are_all_text(contents: str) -> None:
    assert (Hit("0", contents).title, Hit("0", contents).text) == ("", contents)


def test_every_synthetic_fact_is_the_first_result_of_its_query() -> None:
    for seed in range(3):
        world = synthetic_world(Random(seed))
        ranking = Ranking.of(world.passages)
        assert [ranking.rank(fact.query, 1) for fact in world.facts] == [[n] for n in range(len(world.facts))]


def test_every_iso_fact_is_among_the_first_three_results_of_its_query() -> None:
    pytest.importorskip("pycountry")
    world = iso_world()
    ranking = Ranking.of(world.passages)
    assert all(number in ranking.rank(fact.query, 3) for number, fact in enumerate(world.facts))


def test_a_small_corpus_leaves_no_index_behind(tmp_path: Path) -> None:
    assert found(BM25(corpus(tmp_path)), "rival") == ["p2"]
    assert [path.name for path in tmp_path.iterdir()] == ["corpus.jsonl"]


def test_a_stored_index_finds_what_one_in_memory_finds(tmp_path: Path) -> None:
    path = corpus(tmp_path, *synthetic_world(Random(0)).passages)
    kept, fresh = BM25(path, tmp_path / "index"), BM25(path)
    queries = [fact.query for fact in synthetic_world(Random(0)).facts[::50]]
    assert asyncio.run(kept.search(queries, 5)) == asyncio.run(fresh.search(queries, 5))


def test_a_stored_index_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = corpus(tmp_path)
    found(BM25(path, tmp_path / "index"), "rival")

    def build(texts: Any) -> Any:
        raise AssertionError("it was there")

    monkeypatch.setattr(stored, "build", build)
    assert found(BM25(path, tmp_path / "index"), "rival") == ["p2"]


def test_a_changed_corpus_gets_a_new_index(tmp_path: Path) -> None:
    found(BM25(corpus(tmp_path), tmp_path / "index"), "rival")
    # As long as before, and stamped with the same time for all that anyone knows.
    path = corpus(tmp_path, *(text.replace("rival", "lavir") for text in PASSAGES))
    assert found(BM25(path, tmp_path / "index"), "rival") == []


def test_the_index_of_a_large_corpus_lies_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bm25, "SMALL", 10)
    assert found(BM25(corpus(tmp_path)), "rival") == ["p2"]
    assert (tmp_path / "corpus.jsonl.bm25" / "index.json").is_file()


def test_an_interrupted_attempt_is_not_taken_for_an_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = corpus(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(stored.json, "dumps", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            BM25(path, tmp_path / "index").check()
    assert [each.name for each in tmp_path.iterdir() if not each.name.endswith(".lock")] == ["corpus.jsonl"]
    assert found(BM25(path, tmp_path / "index"), "rival") == ["p2"]


def test_what_a_killed_run_left_of_an_index_is_swept_up(tmp_path: Path) -> None:
    (tmp_path / ".index.partial").mkdir()
    (tmp_path / ".index.partial" / "passages.jsonl").write_text("half a")
    assert found(BM25(corpus(tmp_path), tmp_path / "index"), "rival") == ["p2"]
    assert {each.name for each in tmp_path.iterdir()} == {"corpus.jsonl", "index", "index.lock"}


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    with pytest.raises(ValueError, match="holds something else than an index"):
        BM25(corpus(tmp_path), tmp_path / "thesis").check()
    assert (tmp_path / "thesis" / "chapter.tex").read_text() == "years of work"


def test_a_folder_that_cannot_be_written_is_an_error_that_says_what_to_set(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ValueError, match=r"cannot be kept in .* Name a folder that can be written"):
        BM25(corpus(tmp_path), tmp_path / "file" / "index").check()


def test_processes_that_come_at_once_share_one_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, built = corpus(tmp_path), []
    build = stored.build
    monkeypatch.setattr(stored, "build", lambda texts: built.append(1) or build(texts))
    loading = [
        threading.Thread(target=lambda: stored.stored(path, tmp_path / "index", max_bad_rows=0)) for _ in range(4)
    ]
    for thread in loading:
        thread.start()
    for thread in loading:
        thread.join()
    assert built == [1]


def test_stored_passages_are_a_sequence(tmp_path: Path) -> None:
    stored.stored(corpus(tmp_path), tmp_path / "index", max_bad_rows=0)
    passages = stored.StoredPassages(tmp_path / "index")
    assert len(passages) == 4
    assert passages[1:3] == [Passage("p1", PASSAGES[1]), Passage("p2", PASSAGES[2])]


def test_a_missing_corpus_is_noticed_before_a_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no corpus at .*nowhere\.jsonl"):
        BM25(tmp_path / "nowhere.jsonl").check()
