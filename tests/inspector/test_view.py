"""`agentrl view`: the page, in a real browser."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
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
from lightning_agentrl.types import Reward

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
def test_the_most_mixed_prompt_is_open_at_its_best_rollout(tmp_path: Path) -> None:
    """Of three prompts with rewards 1111, 0001 and 0011 the third is the most mixed."""
    many = rollouts(prompts=3)
    for row, reward in enumerate([1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1, 1]):
        many[row] = replace(many[row], reward=Reward(reward, reward))
    saved = load(save_rollouts(tmp_path / "rollouts", many))
    path = tmp_path / "page.html"
    path.write_text(page(saved, [saved_opinion(saved.batch, "GRPO")]), encoding="utf-8")

    async def look(browser: Page) -> list[Any]:
        heads = await browser.value("[...document.querySelectorAll('.prompt-head .task')].map(e => e.textContent)")
        return [heads, await browser.value("document.querySelector('[aria-selected=true]').id")]

    assert visit(path, look) == [["Who is it, 2?", "Who is it, 1?", "Who is it, 0?"], "row-10"]


@needs_browser
def test_help_lists_the_keys_and_escape_closes_it(html: Path) -> None:
    async def use(browser: Page) -> list[Any]:
        await browser.press("?")
        seen = [await browser.value("document.getElementById('help').open")]
        await browser.press("ArrowDown")  # moves nothing below the dialog
        seen.append(await browser.value("document.querySelector('[aria-selected=true]').id"))
        await browser.value("document.getElementById('help').close()")
        for key in ("n", "ArrowDown", "p", "2"):
            await browser.press(key)
            seen.append(await browser.value("document.querySelector('[aria-selected=true]').id"))
        return [*seen, await browser.value("document.querySelector('.turn').querySelectorAll('h3').length")]

    # Prompts of rows 2, 3, 0, 1 and 6, 7, 4, 5; 2 hides the second of two assigners.
    assert visit(html, use) == [True, "row-2", "row-6", "row-7", "row-2", "row-2", 1]


@needs_browser
def test_the_legend_gives_the_ends_of_the_scale(html: Path, saved: Bundle) -> None:
    async def look(browser: Page) -> str:
        return str(await browser.value("document.getElementById('legend').textContent"))

    assert saved.batch.advantages is not None
    end = f"{float(saved.batch.advantages.max()):.2f}"
    assert visit(html, look) == f"discouraged -{end}+{end} reinforced(GRPO)"


@needs_browser
def test_what_was_answered_stands_once_among_the_facts(html: Path) -> None:
    async def look(browser: Page) -> str:
        return str(await browser.value("document.querySelector('.facts').textContent"))

    found = visit(html, look)
    assert "said Bodor" in found
    assert "answered" not in found


@needs_browser
def test_only_rows_in_sight_are_in_the_document_and_all_can_be_reached(tmp_path: Path) -> None:
    saved = load(save_rollouts(tmp_path / "rollouts", rollouts(prompts=125)))
    path = tmp_path / "page.html"
    path.write_text(page(saved, [saved_opinion(saved.batch, "GRPO")]), encoding="utf-8")

    async def use(browser: Page) -> list[Any]:
        seen = [await browser.value(ROWS) < 100, await browser.value("document.getElementById('count').textContent")]
        await browser.press("End")
        chosen = "document.querySelector('[aria-selected=true]')"
        seen.append(await browser.value(f"{chosen}.getAttribute('aria-posinset')"))
        list_end = "document.getElementById('list').getBoundingClientRect().bottom"
        seen.append(await browser.value(f"{chosen}.getBoundingClientRect().bottom <= {list_end} + 1"))
        return seen

    assert visit(path, use) == [True, "500 of 500 rollouts", "500", True]


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
    many = rollouts(prompts=1430, samples=4)  # seven turns a prompt
    saved = load(save_rollouts(tmp_path / "rollouts", many))
    assert sum(len(record["turns"]) for record in saved.records) > 10_000
    path = tmp_path / "page.html"
    path.write_text(page(saved, [saved_opinion(saved.batch, "GRPO"), *ask(saved.batch, [IGPO()])]), encoding="utf-8")

    async def time_it(browser: Page) -> list[float]:
        times = []
        for _ in range(3):  # the best of three: what else the machine does only adds
            await browser.send("Page.reload")
            await asyncio.sleep(0.2)
            await browser.until("document.documentElement?.dataset.ready === 'true'")
            loaded = "performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"
            times.append(float(await browser.value(loaded)))
        return times

    times = visit(path, time_it)
    assert min(times) < 2000, times
