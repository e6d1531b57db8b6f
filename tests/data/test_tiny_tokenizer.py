"""The tokenizer of tiny policies."""

import hashlib
import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from lightning_agentrl.data.tiny_tokenizer import MARKERS, train_tokenizer

TEXTS = ["Who is the mentor of Anra?", "The mentor of Anra is Bodor."] * 20
CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Who?"},
    {"role": "assistant", "content": "<tool_call>\n{}\n</tool_call>"},
    {"role": "tool", "content": "one"},
    {"role": "tool", "content": "two"},
]


def test_every_marker_is_one_token() -> None:
    tokenizer = train_tokenizer(TEXTS, 320)
    assert [tokenizer.encode(marker) for marker in MARKERS] == [[n] for n in range(len(MARKERS))]


def test_markers_of_another_format_are_single_tokens_behind_these() -> None:
    more = ("<search>", "</search>", "<think>")  # the last one is there already
    tokenizer = train_tokenizer(TEXTS, 320, more)
    markers = [*MARKERS, "<search>", "</search>"]
    assert [tokenizer.encode(marker) for marker in markers] == [[n] for n in range(len(markers))]
    assert len(tokenizer) == 320


def test_markers_that_leave_no_room_for_bytes_are_refused() -> None:
    with pytest.raises(ValueError, match="256 bytes and 71 markers do not fit into a vocab_size of 320"):
        train_tokenizer(TEXTS, 320, [f"<{n}>" for n in range(60)])


def test_without_markers_of_others_the_tokens_are_what_they_always_were() -> None:
    # Cached policies and published results hang on every number.
    vocabulary = json.dumps(sorted(train_tokenizer(TEXTS, 384).get_vocab().items()))
    assert hashlib.blake2b(vocabulary.encode(), digest_size=8).hexdigest() == "6bbcdf78f8d912db"


def test_the_vocabulary_has_exactly_the_size_asked_for() -> None:
    # 256 bytes + 11 markers + the merges of ten words stay far below 576.
    assert len(train_tokenizer(TEXTS, 576)) == 576


def test_any_text_survives_encoding() -> None:
    tokenizer = train_tokenizer(TEXTS, 320)
    text = 'Naxçıvan, 東京 ,\t"Z̧aby"  \n'
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_saving_and_loading_changes_nothing(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(TEXTS, 320)
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    for each in (tokenizer, loaded):
        assert (each.eos_token, each.pad_token, len(each)) == ("<|im_end|>", "<|endoftext|>", 320)
    chat = tokenizer.apply_chat_template(CHAT, add_generation_prompt=True, return_dict=False)
    assert loaded.apply_chat_template(CHAT, add_generation_prompt=True, return_dict=False) == chat


def test_the_template_renders_chats_as_qwen_does() -> None:
    assert train_tokenizer(TEXTS, 320).apply_chat_template(CHAT, add_generation_prompt=True, tokenize=False) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWho?<|im_end|>\n"
        "<|im_start|>assistant\n<tool_call>\n{}\n</tool_call><|im_end|>\n"
        "<|im_start|>user\n<tool_response>\none\n</tool_response>\n<tool_response>\ntwo\n</tool_response><|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_rare_names_do_not_become_tokens() -> None:
    # "Quixo" is in 4 of 800 texts, less than 1 %.
    tokenizer = train_tokenizer(["Who is Anra?"] * 796 + ["Quixo"] * 4, 512)
    assert len(tokenizer.tokenize("Quixo")) == 5


@pytest.mark.parametrize("size", [100, 256, 500])
def test_a_size_that_does_not_fit_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"multiple of 64 and at least 320, got {size}"):
        train_tokenizer(TEXTS, size)
