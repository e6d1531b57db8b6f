"""Texts that end a completion: what every engine promises of them. The vLLM half runs with the marker ``vllm``."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from engine_cases import ENGINES, global_state, hexadecimal, mismatch, prompt, run, sampling, setup_for
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedModel

from lightning_agentrl.data.tiny_tokenizer import train_tokenizer
from lightning_agentrl.engines.base import Completion, RolloutEngine
from lightning_agentrl.engines.stop_strings import StopStrings
from lightning_agentrl.testing import ScriptedEngine

DIGITS = hexadecimal()  # token 0x1a is written "1a"
MANY = settings(deadline=None, derandomize=True)
STOPS = ("00", "11", "7e", "a5", "9f", "c3d")
TEXT = train_tokenizer(["<search>mentor of Anra</search>", "東京", "a > b >= c"] * 5, 320)


@pytest.fixture(scope="module", params=ENGINES)
def reader(request: pytest.FixtureRequest, policy: PreTrainedModel) -> Iterator[RolloutEngine]:
    """A started engine that can read."""
    engine: RolloutEngine = request.param()
    engine.start(replace(setup_for(policy), tokenizer=DIGITS))
    engine.update_weights(policy.state_dict().items(), version=0)
    yield engine
    engine.close()


def spelled(token_ids: Sequence[int]) -> str:
    return str(DIGITS.decode(list(token_ids)))


PROMPTS = [prompt(20, seed) for seed in range(12)]


@pytest.fixture(scope="module")
def completions(reader: RolloutEngine) -> list[Completion]:
    """One per prompt, most of them stopped by one of the texts, of which a token completes one with p > 4 %."""
    params = [sampling(80, seed=seed, stop_strings=STOPS) for seed in range(12)]
    completions = run(reader, PROMPTS, params)
    assert sum(each.finish_reason == "stop" for each in completions) > 6
    return completions


def test_a_completion_ends_with_the_token_that_completes_a_stop_string(completions: list[Completion]) -> None:
    for each in completions:
        assert not any(stop in spelled(each.token_ids[:-1]) for stop in STOPS)
        assert any(stop in spelled(each.token_ids) for stop in STOPS) == (each.finish_reason == "stop")


def test_stop_strings_cut_and_change_nothing_before(reader: RolloutEngine, completions: list[Completion]) -> None:
    # The tokens are those without stop strings, the one that spells more than the stop string included.
    assert any(not spelled(each.token_ids).endswith(STOPS) for each in completions if each.finish_reason == "stop")
    free = run(reader, PROMPTS, [sampling(80, seed=seed) for seed in range(12)])
    assert [each.token_ids for each in completions] == [
        whole.token_ids[: len(each.token_ids)] for each, whole in zip(completions, free, strict=True)
    ]


def test_log_probs_are_there_for_every_token(completions: list[Completion], policy: PreTrainedModel) -> None:
    for ids, each in zip(PROMPTS, completions, strict=True):
        assert mismatch(policy, ids, each) < 1e-4  # two implementations of float32 attention


def test_reading_leaves_the_hosts_global_state_alone(reader: RolloutEngine) -> None:
    before = global_state()
    run(reader, PROMPTS[:2], [sampling(20, seed=seed, stop_strings=STOPS) for seed in (1, None)])
    assert global_state() == before


def test_stop_tokens_end_a_completion_as_well(reader: RolloutEngine) -> None:
    params = replace(sampling(80, stop_strings=STOPS), stop_token_ids=tuple(range(64, 128)))
    (completion,) = run(reader, [prompt(20)], [params])
    assert completion.finish_reason == "stop"
    assert completion.token_ids[-1] in range(64, 128)


def length(text: str, *stops: str) -> int | None:
    """After how many tokens of a text it would end."""
    ids = TEXT.encode(text)
    strings = StopStrings(stops, TEXT)
    return next((n for n in range(1, len(ids) + 1) if strings.end(ids[:n])), None)


def test_a_stop_string_of_many_tokens_is_found() -> None:
    ids = TEXT.encode("I say <search>x</search> and more")
    assert TEXT.decode(ids[: length("I say <search>x</search> and more", "</search>")]).startswith(
        "I say <search>x</search>"
    )


def test_a_stop_string_of_bytes_is_found_with_its_last_byte() -> None:
    ids = TEXT.encode("é漢字b")
    assert len(ids) == 2 + 3 + 3 + 1  # none of these is a token
    assert (length("é漢字b", "字"), length("é漢字b", "漢字b"), length("é漢", "字")) == (8, 9, None)


def test_half_a_character_behind_a_stop_string_hides_nothing() -> None:
    ids = [*TEXT.encode("x</search>"), TEXT.encode("漢")[0]]
    assert StopStrings(["</search>"], TEXT).end(ids)


@MANY
@given(st.text("ab<>東", max_size=30), st.lists(st.text("ab<>東", min_size=1, max_size=4), min_size=1, max_size=3))
def test_the_first_token_that_completes_one_is_found(text: str, stops: list[str]) -> None:
    ids = TEXT.encode(text)
    whole = (n for n in range(1, len(ids) + 1) if any(stop in TEXT.decode(ids[:n]) for stop in stops))
    assert length(text, *stops) == next(whole, None)


def test_a_scripted_reply_is_cut_at_a_stop_string() -> None:
    engine = ScriptedEngine(lambda ids, params: TEXT.encode("a</search> b"), tokenizer=TEXT)
    completion = asyncio.run(engine.generate([1], sampling(stop_strings=("</search>",))))
    assert (TEXT.decode(list(completion.token_ids)).strip(), completion.finish_reason) == ("a</search>", "stop")
    assert len(completion.logprobs) == len(completion.token_ids)
