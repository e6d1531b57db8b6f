"""The accepted answers of each row, in tokens."""

from __future__ import annotations

import pytest
from transformers import PreTrainedTokenizerFast

from lightning_agentrl.data.tiny_tokenizer import train_tokenizer
from lightning_agentrl.formats.hermes import HermesFormat
from lightning_agentrl.rollout.probes import Aliases, check_template, with_probes
from lightning_agentrl.testing import rollouts
from lightning_agentrl.types import RolloutBatch, Task

FORMAT = HermesFormat()
TEMPLATE = "I know.</think><answer>{answer}</answer>"
# Row by row: two aliases, none, one that is longer, and the first row's task again.
ANSWERS = [("Bodor", "Bo"), (), ("the mentor of Anra",), ("Bodor", "Bo")]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(["The mentor of Anra is Bodor."] * 10, 384)


def probed(
    tokenizer: PreTrainedTokenizerFast, answers: list[tuple[str, ...]], aliases: Aliases = "max", pad_id: int = 0
) -> RolloutBatch:
    batch = rollouts([[1]] * len(answers), rewards=[0.0] * len(answers))
    tasks = [Task(str(number), (), accepted) for number, accepted in enumerate(answers)]
    return with_probes(batch, tasks, FORMAT, tokenizer, template=TEMPLATE, aliases=aliases, pad_id=pad_id)


def scored_texts(batch: RolloutBatch, tokenizer: PreTrainedTokenizerFast) -> list[list[str]]:
    """Of each row, what its probes score."""
    assert batch.probe_ids is not None
    assert batch.probe_scored is not None
    return [
        [tokenizer.decode(ids[scored]) for ids, scored in zip(*row, strict=True)]
        for row in zip(batch.probe_ids, batch.probe_scored, strict=True)
    ]


def test_every_row_scores_every_accepted_answer_of_its_task(tokenizer: PreTrainedTokenizerFast) -> None:
    found = scored_texts(probed(tokenizer, ANSWERS), tokenizer)
    assert found == [["Bodor", "Bo"], ["", ""], ["the mentor of Anra", ""], ["Bodor", "Bo"]]


def test_the_first_answer_alone_can_be_scored(tokenizer: PreTrainedTokenizerFast) -> None:
    found = scored_texts(probed(tokenizer, ANSWERS, aliases="first"), tokenizer)
    assert found == [["Bodor"], [""], ["the mentor of Anra"], ["Bodor"]]


@pytest.mark.parametrize("pad_id", [0, 7])
def test_a_probe_is_the_formats_and_padding_behind_it(tokenizer: PreTrainedTokenizerFast, pad_id: int) -> None:
    batch = probed(tokenizer, [("Bo",), ("the mentor of Anra",)], pad_id=pad_id)
    assert batch.probe_ids is not None
    assert batch.probe_scored is not None
    ids, scored = FORMAT.probe(tokenizer, TEMPLATE, "Bo")
    rest = batch.probe_ids.shape[2] - len(ids)
    assert rest > 0
    assert batch.probe_ids[0, 0].tolist() == [*ids, *[pad_id] * rest]
    assert batch.probe_scored[0, 0].tolist() == [*scored, *[False] * rest]


def test_probes_are_as_long_as_the_longest(tokenizer: PreTrainedTokenizerFast) -> None:
    batch = probed(tokenizer, ANSWERS)
    assert batch.probe_ids is not None
    assert batch.probe_ids.shape == (4, 2, len(FORMAT.probe(tokenizer, TEMPLATE, "the mentor of Anra")[0]))


def test_equal_answers_are_scored_once(tokenizer: PreTrainedTokenizerFast) -> None:
    assert scored_texts(probed(tokenizer, [("Bo", "Bodor", "Bo")]), tokenizer) == [["Bo", "Bodor"]]


def test_an_empty_answer_is_no_answer(tokenizer: PreTrainedTokenizerFast) -> None:
    assert scored_texts(probed(tokenizer, [("", "Bo")]), tokenizer) == [["Bo"]]


def test_tasks_without_answers_score_nothing(tokenizer: PreTrainedTokenizerFast) -> None:
    batch = probed(tokenizer, [(), ()], pad_id=7)
    assert batch.probe_ids is not None
    assert batch.probe_scored is not None
    assert (batch.probe_ids.tolist(), batch.probe_scored.any().item()) == ([[[7]], [[7]]], False)


def test_nothing_else_of_the_batch_changes(tokenizer: PreTrainedTokenizerFast) -> None:
    batch = probed(tokenizer, [("Bo",)])
    assert batch.input_ids.tolist() == rollouts([[1]], rewards=[0.0]).input_ids.tolist()


@pytest.mark.parametrize("template", ["<answer>{answer}</answer>", "{answer}"])
def test_a_template_that_places_the_answer_once_is_accepted(template: str) -> None:
    check_template(template)


@pytest.mark.parametrize("template", ["", "<answer></answer>", "{answer} or {answer}", "{Answer}", "{ answer }"])
def test_any_other_template_is_refused(template: str) -> None:
    with pytest.raises(ValueError, match="exactly once"):
        check_template(template)
