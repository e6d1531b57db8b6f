"""A turn that gives an answer, in tokens: what the policy would have written, and nothing more."""

import pytest
from transformers import PreTrainedTokenizerFast

from lightning_agentrl.data.tiny_tokenizer import MARKERS
from lightning_agentrl.formats.hermes import HermesFormat

FORMAT = HermesFormat()
CONTROLS = [marker for marker in MARKERS if "answer" not in marker]  # Qwen's tokenizers have no answer tags
TEMPLATES = [
    "<answer>{answer}</answer>",
    "I know.</think>\n<answer>{answer}</answer>",
    "<think>It is clear.</think>\n\nThe mentor of Anra is {answer}.",
    "{answer}",
    "So it is {answer}or, I think.",
]
ANSWERS = ["Bodor", "Bod", " Anra ", "東京", "1,500.25", "a\nb", "mentor of Anra"]
KINDS = pytest.mark.parametrize("kind", ["tokenizer", "qwen_like"])


def pieces(tokenizer: PreTrainedTokenizerFast, template: str, answer: str) -> list[tuple[str, bool]]:
    """Text of each token of a probe, and whether it is scored."""
    ids, scored = FORMAT.probe(tokenizer, template, answer)
    return list(zip(map(tokenizer.decode, ([id] for id in ids)), scored, strict=True))


@KINDS
@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("answer", ANSWERS)
def test_a_probe_is_the_beginning_of_the_turn_that_gives_the_answer(
    kind: str, template: str, answer: str, request: pytest.FixtureRequest
) -> None:
    tokenizer = request.getfixturevalue(kind)
    ids, scored = FORMAT.probe(tokenizer, template, answer)
    assert ids == FORMAT.action(tokenizer, template.replace("{answer}", answer))[: len(ids)]
    assert len(scored) == len(ids)


@KINDS
@pytest.mark.parametrize("template", TEMPLATES[:2])
@pytest.mark.parametrize("answer", ANSWERS)
def test_the_scored_tokens_are_the_answer(
    kind: str, template: str, answer: str, request: pytest.FixtureRequest
) -> None:
    # The tags are tokens of their own, so that no token covers a border.
    tokenizer = request.getfixturevalue(kind)
    ids, scored = FORMAT.probe(tokenizer, template, answer)
    assert tokenizer.decode([id for id, is_answer in zip(ids, scored, strict=True) if is_answer]) == answer


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("answer", ANSWERS)
def test_a_probe_ends_with_the_answer(tokenizer: PreTrainedTokenizerFast, template: str, answer: str) -> None:
    _, scored = FORMAT.probe(tokenizer, template, answer)
    assert scored == sorted(scored)
    assert scored[-1]


def test_a_token_across_the_front_border_counts(tokenizer: PreTrainedTokenizerFast) -> None:
    # The space before the answer belongs to the template.
    found = pieces(tokenizer, "mentor is {answer}.", "Bodor")
    assert found[-2:] == [(" is", False), (" Bodor", True)]


def test_a_token_across_both_borders_counts(tokenizer: PreTrainedTokenizerFast) -> None:
    assert pieces(tokenizer, "is {answer}or.", "Bod")[-1] == (" Bodor", True)


def test_the_turns_end_is_no_part_of_the_answer(tokenizer: PreTrainedTokenizerFast) -> None:
    ids, _ = FORMAT.probe(tokenizer, "{answer}", "Bodor")
    assert not set(ids) & set(FORMAT.stop_token_ids(tokenizer))


@KINDS
def test_markers_of_the_template_are_control_tokens(kind: str, request: pytest.FixtureRequest) -> None:
    tokenizer = request.getfixturevalue(kind)
    ids, scored = FORMAT.probe(tokenizer, "<think>a</think>{answer}", "Bodor")
    close = tokenizer.convert_tokens_to_ids("</think>")
    assert (ids[0], ids.count(close)) == (tokenizer.convert_tokens_to_ids("<think>"), 1)
    assert not any(scored[: ids.index(close) + 1])


@KINDS
@pytest.mark.parametrize("marker", CONTROLS)
def test_an_answer_cannot_forge_control_tokens(kind: str, marker: str, request: pytest.FixtureRequest) -> None:
    tokenizer = request.getfixturevalue(kind)
    controls = {tokenizer.convert_tokens_to_ids(each) for each in CONTROLS}
    ids, _ = FORMAT.probe(tokenizer, "<think>a</think>{answer}", f"b{marker}{marker}c<{marker}")
    assert [tokenizer.decode([id]) for id in ids if id in controls] == ["<think>", "</think>"]


@pytest.mark.parametrize(
    ("template", "answer"),
    [("a <{answer}", "|im_end|> b"), ("{answer}end|> b", "a <|im_"), ("{answer}|> b", "<|im_end")],
)
def test_an_answer_cannot_forge_them_together_with_the_template(
    tokenizer: PreTrainedTokenizerFast, template: str, answer: str
) -> None:
    ids, _ = FORMAT.probe(tokenizer, template, answer)
    assert not set(ids) & {tokenizer.convert_tokens_to_ids(each) for each in CONTROLS}


@KINDS
@pytest.mark.parametrize("marker", CONTROLS)
def test_an_answer_that_spells_control_tokens_is_scored_in_full(
    kind: str, marker: str, request: pytest.FixtureRequest
) -> None:
    tokenizer = request.getfixturevalue(kind)
    ids, scored = FORMAT.probe(tokenizer, TEMPLATES[0], f"a{marker}b")
    assert tokenizer.decode([id for id, is_answer in zip(ids, scored, strict=True) if is_answer]) == f"a{marker}b"


def test_an_empty_answer_has_an_empty_probe(tokenizer: PreTrainedTokenizerFast) -> None:
    assert FORMAT.probe(tokenizer, TEMPLATES[0], "") == ([], [])
