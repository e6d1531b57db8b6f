"""Children that answer, hang, and die."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import psutil
import pytest

from lightning_agentrl.rewards.child_pool import ChildPool, CrashedError
from lightning_agentrl.rewards.child_process import OutOfTimeError
from lightning_agentrl.types import InfrastructureError

CHILD = """
import json, os, sys, time
ill = sys.argv[1] == "ill"
print(json.dumps({"ready": sys.argv[1] != "never", "error": "not today"}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    if request.get("hang"):
        time.sleep(1000)
    if request.get("die") or ill:
        os._exit(3)
    if "once" in request and not os.path.exists(request["once"]):
        open(request["once"], "w").close()
        os._exit(4)
    print(request.get("raw") or json.dumps({"pid": os.getpid(), **request}), flush=True)
"""
Make = Callable[..., ChildPool]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    script = tmp_path / "child.py"
    script.write_text(CHILD)
    pools: list[ChildPool] = []

    def pool(health: str = "well", size: int = 1, seconds: float = 60.0) -> ChildPool:
        pools.append(ChildPool(lambda: [sys.executable, "-S", str(script), health], size, seconds, {"harmless": True}))
        return pools[-1]

    others = psutil.Process().children()
    yield pool
    for made in pools:
        made.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "agentrl-child"]
    assert not [child for child in psutil.Process().children() if child not in others]


def answer(pool: ChildPool, **request: Any) -> Any:
    return pool.submit(request).result(60)


def test_a_child_answers_one_request_after_another(make: Make) -> None:
    pool = make()
    first, second = answer(pool, number=1), answer(pool, number=2)
    assert (first["number"], second["number"], first["pid"]) == (1, 2, second["pid"])


def test_children_work_side_by_side(make: Make) -> None:
    pool = make(size=2, seconds=3.0)
    hung = pool.submit({"hang": True})
    assert answer(pool, number=1)["number"] == 1
    assert not hung.done()


def test_who_takes_too_long_is_killed_and_the_next_one_is_answered(make: Make) -> None:
    pool = make(seconds=0.5)
    before = answer(pool, number=1)["pid"]
    with pytest.raises(OutOfTimeError):
        answer(pool, hang=True)
    assert not psutil.pid_exists(before)
    assert answer(pool, number=2)["number"] == 2


def test_a_death_by_chance_is_made_up_for(make: Make, tmp_path: Path) -> None:
    assert answer(make(), once=str(tmp_path / "died"), number=1)["number"] == 1


def test_a_request_that_kills_every_child_is_found_out(make: Make) -> None:
    pool = make()
    with pytest.raises(CrashedError):
        answer(pool, die=True)
    assert answer(pool, number=1)["number"] == 1


def test_children_that_die_of_anything_are_no_fault_of_the_request(make: Make) -> None:
    with pytest.raises(InfrastructureError, match="exit status 3"):
        answer(make("ill"), number=1)


def test_children_that_do_not_start_say_why(make: Make) -> None:
    with pytest.raises(InfrastructureError, match="not today"):
        answer(make("never"), number=1)


def test_a_command_that_is_not_there_is_an_error_of_the_machinery() -> None:
    pool = ChildPool(lambda: ["/does/not/exist"], 1, 1.0, {})
    with pytest.raises(InfrastructureError, match="could not be started"):
        answer(pool, number=1)
    pool.close()


@pytest.mark.parametrize("raw", ["no json", "[1]", "{"])
def test_nonsense_is_no_answer(make: Make, raw: str) -> None:
    with pytest.raises(CrashedError):
        answer(make(), raw=raw)


def test_what_nobody_waits_for_any_more_is_not_asked(make: Make, tmp_path: Path) -> None:
    pool = make(seconds=0.5)
    hung, given_up = pool.submit({"hang": True}), pool.submit({"once": str(tmp_path / "asked")})
    assert given_up.cancel()
    with pytest.raises(OutOfTimeError):
        hung.result(60)
    assert answer(pool, number=1)["number"] == 1
    assert not (tmp_path / "asked").exists()


def test_closing_ends_a_request_under_way_and_those_that_wait(make: Make) -> None:
    pool = make()
    answer(pool, number=1)
    waiting: list[Future[Any]] = [pool.submit({"hang": True}) for _ in range(3)]
    begin = time.monotonic()
    while not waiting[0].running():
        assert time.monotonic() < begin + 30
    pool.close()
    assert time.monotonic() - begin < 30
    for future in waiting:
        assert isinstance(future.exception(0), InfrastructureError)


def test_after_closing_a_pool_starts_anew(make: Make) -> None:
    pool = make()
    before = answer(pool, number=1)["pid"]
    pool.close()
    pool.close()
    assert answer(pool, number=2)["pid"] != before
