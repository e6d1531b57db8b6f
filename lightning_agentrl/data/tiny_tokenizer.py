"""A byte-level BPE of a few hundred tokens for tiny policies, with the Hermes markers and a short chat template."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

PAD = "<|endoftext|>"
END_OF_TURN = "<|im_end|>"
TAGS = ("tool_call", "tool_response", "answer", "think")
MARKERS = (PAD, "<|im_start|>", END_OF_TURN, *(f"<{slash}{tag}>" for tag in TAGS for slash in ("", "/")))

# Qwen's template without the list of tools and without a default system prompt: both would cost a tiny policy more
# tokens than the task itself. Neighbouring tool results share one user turn, as in Qwen's.
CHAT_TEMPLATE = """\
{%- for message in messages %}
{%- if message.role == "tool" %}
{%- if loop.first or messages[loop.index0 - 1].role != "tool" %}{{- "<|im_start|>user" }}{% endif %}
{{- "\\n<tool_response>\\n" + message.content + "\\n</tool_response>" }}
{%- if loop.last or messages[loop.index0 + 1].role != "tool" %}{{- "<|im_end|>\\n" }}{% endif %}
{%- else %}
{{- "<|im_start|>" + message.role + "\\n" + message.content + "<|im_end|>\\n" }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- "<|im_start|>assistant\\n" }}{% endif %}
"""


def train_tokenizer(
    texts: Iterable[str], vocab_size: int = 512, markers: Sequence[str] = ()
) -> PreTrainedTokenizerFast:
    """Train a tokenizer that speaks the Hermes format.

    Args:
        texts: what the policy will read and write, without chat markers.
        vocab_size: exact number of tokens, a multiple of 64 (matrix sizes) and at least 320: 256 bytes, the markers and
            some merges. A merge has to occur in about 1 % of the texts: names that only the demonstrations know should
            not become tokens, or unknown names would be spelled in another way. Unused tokens fill up the rest.
        markers: what else is to be one token, for a format of other tags.
    """
    if vocab_size % 64 or vocab_size < 320:
        raise ValueError(f"vocab_size must be a multiple of 64 and at least 320, got {vocab_size}.")
    special = list(dict.fromkeys([*MARKERS, *markers]))
    if len(special) + 256 > vocab_size:
        raise ValueError(f"256 bytes and {len(special)} markers do not fit into a vocab_size of {vocab_size}.")
    texts = list(texts)
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=max(2, len(texts) // 100),
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    backend.add_tokens([f"<|unused_{n}|>" for n in range(vocab_size - backend.get_vocab_size())])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=END_OF_TURN, pad_token=PAD)
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer
