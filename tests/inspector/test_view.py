"""`agentrl view`: the page, in a real browser."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from browser import Page, needs_browser, opened
from saved_rollouts import rollouts, save_rollouts

from lightning_agentrl.cli import main
from lightning_agentrl.credit.igpo import IGPO
from lightning_agentrl.inspector.opinions import ask, saved_opinion
from lightning_agentrl.inspector.view import page
from lightning_agentrl.rollout.bundle import Bundle, load

HOSTILE = [
    "</script><script>document.documentElement.dataset.owned = 1</script>",
    "<img src=x onerror='document.documentElement.dataset.owned = 1'>",
    "<!--<script>",
    "\u2028';document.documentElement.dataset.owned=1;'",
    "$DATA ${SCRIPT} $SCRIPT_HASH",
]


def visit(path: Path, test: Callable[[Page], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        async with opened(path) as browser:
            found = await test(browser)
            assert not browser.complaints
            return found

    return asyncio.run(run())


@pytest.fixture
def html(saved: Bundle) -> Path:
    path = saved.folder / "page.html"
    opinions = [saved_opinion(saved.batch, "GRPO"), *ask(saved.batch, [IGPO()])]
    path.write_text(page(saved, opinions), encoding="utf-8")
    return path


ROWS = "[...document.querySelectorAll('.row')].length"


def test_one_command_writes_one_page_that_loads_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_rollouts(tmp_path / "rollouts" / "epoch-0003")
    assert main(["view", str(tmp_path), "--vs", "IGPO", "GiGPO"]) == 0
    path = tmp_path / "rollouts" / "epoch-0003" / "view.html"
    assert str(path) in capsys.readouterr().out
    text = path.read_text(encoding="utf-8")
    assert not re.search(
        r"(src|href)\s*=|@import|url\(", re.sub(r"<script type.*?</script>", "", text, flags=re.DOTALL)
    )
    assert "default-src 'none'" in text


@needs_browser
def test_rollouts_are_listed_by_prompt_and_the_best_is_open(html: Path) -> None:
    async def look(browser: Page) -> list[Any]:
        return [
            await browser.value(ROWS),
            await browser.value("document.querySelector('.row .reward').textContent"),
            await browser.value("document.querySelectorAll('.turn').length"),
            await browser.value("document.querySelector('h2').textContent"),
        ]

    assert visit(html, look) == [8, "1", 3, "Who is it, 0?"]


@needs_browser
def test_filters_and_keys_change_what_is_shown(html: Path) -> None:
    async def use(browser: Page) -> list[Any]:
        seen = []
        await browser.press("/")
        for letter in "task-1":
            await browser.press(letter)
        seen.append(await browser.value(ROWS))
        await browser.press("Escape")
        await browser.press("ArrowDown")
        seen.append(await browser.value("document.querySelector('[aria-selected=true]').id"))
        await browser.value("document.getElementById('search').value = ''")
        for field, value in (("least", "0.5"), ("tool", "search")):
            await browser.value(
                f"(() => {{ const e = document.getElementById('{field}'); e.value = '{value}'; "
                f"e.dispatchEvent(new Event('input')); }})()"
            )
            seen.append(await browser.value(ROWS))
        return seen

    # Rewards of task 1: samples 2 and 3 earn 1, so the second row is sample 3; of four successful rollouts three call.
    assert visit(html, use) == [4, "row-7", 4, 3]


@needs_browser
def test_assigners_stand_side_by_side_and_can_be_chosen(html: Path) -> None:
    async def use(browser: Page) -> list[Any]:
        count = "document.querySelector('.turn').querySelectorAll('.opinion h3').length"
        before = await browser.value(count)
        await browser.click("#assigner-IGPO")
        return [before, await browser.value(count)]

    assert visit(html, use) == [2, 1]


@needs_browser
def test_a_token_shows_every_assigners_credit(html: Path, saved: Bundle) -> None:
    async def hover(browser: Page) -> str:
        place = await browser.value(
            "(r => [r.x + 2, r.y + 5])(document.querySelector('.token').getBoundingClientRect())"
        )
        await browser.send("Input.dispatchMouseEvent", type="mouseMoved", x=place[0], y=place[1])
        return str(await browser.until("document.getElementById('tip').textContent"))

    found = dict(line.split(": ") for line in visit(html, hover).splitlines())
    row = 2  # the best of the first prompt
    first = saved.records[row]["turns"][0]["start"]
    assert saved.batch.advantages is not None
    assert float(found["GRPO"]) == pytest.approx(float(saved.batch.advantages[row, first]), abs=1e-4)


@needs_browser
def test_branches_are_a_tree_that_leads_to_them(html: Path) -> None:
    async def use(browser: Page) -> list[Any]:
        limbs = await browser.value("document.querySelectorAll('.limb').length")
        await browser.click(".limb:last-of-type rect")
        return [limbs, await browser.value("document.querySelector('[aria-selected=true]').id")]

    # Samples 0, 1, 2, and 3 below 2, which it branches off.
    assert visit(html, use) == [4, "row-3"]


@needs_browser
@pytest.mark.parametrize("text", HOSTILE)
def test_what_models_and_tools_wrote_stays_text(tmp_path: Path, text: str) -> None:
    saved = load(save_rollouts(tmp_path / "rollouts", rollouts(heard=text)))
    for record in saved.records:
        record["task"] = record["answer"] = text
        record["messages"] = [{"role": text, "content": text}]
        for turn in record["turns"]:
            turn["tokens"] = [text, *turn["tokens"][1:]]
            for call in turn["tool_calls"]:
                call |= {"name": text, "ok": False, "error_kind": text}
    path = tmp_path / "page.html"
    path.write_text(page(saved, [saved_opinion(saved.batch, text)]), encoding="utf-8")

    async def look(browser: Page) -> list[Any]:
        await browser.value("document.querySelector('.row:last-child').click()")
        return [
            await browser.value("document.documentElement.dataset.owned ?? null"),
            await browser.value("document.querySelectorAll('img, iframe, object').length"),
            await browser.value(f"document.body.textContent.includes({json.dumps(text)})"),
            await browser.value("document.scripts.length"),
        ]

    assert visit(path, look) == [None, 0, True, 2]


@needs_browser
def test_the_page_looks_like_something(html: Path, tmp_path: Path) -> None:
    async def picture(browser: Page) -> bytes:
        return await browser.screenshot()

    image = visit(html, picture)
    assert image.startswith(b"\x89PNG")
    assert len(image) > 20_000


@needs_browser
@pytest.mark.slow
def test_ten_thousand_turns_load_within_two_seconds(tmp_path: Path) -> None:
    many = rollouts(prompts=1250, samples=4)
    saved = load(save_rollouts(tmp_path / "rollouts", many))
    assert sum(len(record["turns"]) for record in saved.records) > 9_000
    path = tmp_path / "page.html"
    path.write_text(page(saved, [saved_opinion(saved.batch, "GRPO"), *ask(saved.batch, [IGPO()])]), encoding="utf-8")

    async def time_it(browser: Page) -> float:
        await browser.send("Page.reload")
        while not await browser.value("document.documentElement.dataset.ready === 'true'"):
            await asyncio.sleep(0.05)
        return float(await browser.value("performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"))

    assert visit(path, time_it) < 2000
