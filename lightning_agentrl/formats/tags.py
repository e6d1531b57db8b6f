"""The protocol of ARPO and APPO: think, call and answer in tags, results pasted into the same turn of the assistant."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from textwrap import dedent
from typing import TYPE_CHECKING, Any

from lightning_agentrl.formats.base import ChatFormat
from lightning_agentrl.formats.chat_template import between, chat_tokens, end_of_turn, ends_of_turn
from lightning_agentrl.formats.encoding import encode, encode_probe, readable, tokens_within, up_to
from lightning_agentrl.formats.json_calls import malformed
from lightning_agentrl.formats.self_test import check_appending
from lightning_agentrl.formats.turn_text import ANSWER, THINKING, boxed, not_run
from lightning_agentrl.types import Action, CallError, ParsedCall

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TOOLS = "{tools}"
"""Where the instructions list the tags."""


@dataclass(frozen=True)
class Tag:
    """What the text of a tag is."""

    tool: str
    """Name of the tool that it calls."""
    argument: str
    """Name of the argument that it gives; its type is string."""


@dataclass(frozen=True)
class TagFormat(ChatFormat):
    r"""Calls such as ``<search>…</search>`` with one argument, answered by ``<result>…</result>`` in the same turn.

    Source: the rollouts released with arXiv:2507.19849 and arXiv:2606.12384. Text between two calls is a turn of ours:
    it ends at a tool's closing tag, the result follows as an observation, and an end-of-text token ends the episode.
    As in the source the nearest opening tag before the last closing one counts, inside of thoughts as well, blanks
    around the text do not count, and a result is ``" <result>\n" + text + "\n</result>"``.

    Deviations: a malformed call is answered with an error (there the trajectory silently ends). No token that the
    policy did not sample is trained (there an end of text is appended at the limit of calls). Only what the policy says
    in this turn is read (there the whole sequence, results included). Behind an answer no call is run. What follows a
    closing tag in the same token stays in the context.
    """

    tools: Mapping[str, Tag] = field(
        default_factory=lambda: {"search": Tag("search", "query"), "python": Tag("python", "code")}
    )
    """Name of the tag → the tool and the argument that its text is."""
    result: str = "result"
    """Name of the tag around a result."""
    boxed: bool = True
    r"""Whether the answer is what ``\boxed{}`` holds inside of ``<answer>``; without a box it is none then. Rewards are
    given what is in the box, so leave a ``boxed`` of theirs off."""
    instructions: str = ""
    """What the system message begins with; ``{tools}`` becomes a line per tag. Empty where the policy knows the tags,
    or the environment's prompt explains them: the chat template is not told about tools."""

    def __post_init__(self) -> None:
        names = [*self.tools, self.result, "answer", "think"]
        bad = [name for name in names if not re.fullmatch(r"[\w-]+", name) or names.count(name) > 1]
        if bad or not self.tools:
            raise ValueError(
                f"TagFormat needs at least one tool, and names of tags that are words and all different, also from "
                f"{self.result!r}, 'answer' and 'think'; got {', '.join(self.tools) or 'no tool'}."
            )

    def prompt(
        self, tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, str]], tools: Sequence[dict[str, Any]]
    ) -> list[int]:
        """Tokens of the first prompt: the chat with the instructions in front."""
        return chat_tokens(tokenizer, self._instructed(messages, tools))

    def call(self, tokenizer: PreTrainedTokenizerBase | None, name: str, arguments: Mapping[str, Any]) -> str:
        """A call in its tag.

        Raises:
            ValueError: no tag calls that tool with just that argument.
        """
        for tag, called in self.tools.items():
            if called.tool == name and set(arguments) == {called.argument}:
                return f"<{tag}>{arguments[called.argument]}</{tag}>"
        raise ValueError(
            f"No tag calls {name} with {', '.join(arguments) or 'nothing'}; those of data.format.tools are "
            f"{', '.join(f'<{tag}> for {each.tool}({each.argument})' for tag, each in self.tools.items())}."
        )

    def action(self, tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
        """Tokens of a demonstrated turn: a call ends it, anything else is ended by the end of text.

        Raises:
            ValueError: the turn goes on behind a call, which no rollout does.
        """
        closed = self._closing.search(text)
        if closed and closed.end() < len(text):
            raise ValueError(f"A turn ends with its first call, but {text!r} goes on behind {closed.group()}.")
        return encode(tokenizer, [(text if closed else text + end_of_turn(tokenizer), True)], self._tags)

    def probe(self, tokenizer: PreTrainedTokenizerBase, template: str, answer: str) -> tuple[list[int], list[bool]]:
        """Tokens of a turn that gives the answer, up to the answer's last, and which of them are the answer."""
        return encode_probe(tokenizer, template, answer, end_of_turn(tokenizer), self._tags)

    def observation(self, tokenizer: PreTrainedTokenizerBase, results: Sequence[str]) -> list[int]:
        """Each result in its tag, and the policy goes on behind the last one."""
        parts = []
        for result in results:
            parts += [(f" <{self.result}>\n", True), (result, False), (f"\n</{self.result}>", True)]
        return encode(tokenizer, parts, self._tags)

    def message(self, tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
        """The user speaks, as the chat template writes it behind a turn that the policy has ended."""
        return encode(tokenizer, between(tokenizer, "user").parts([text]), self._tags)

    def parse(self, tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int]) -> Action:
        """The call that ended the turn, and the answer.

        Where the end of text ended it there is no call: a tag before that is mere text.
        """
        length = up_to(token_ids, self.stop_token_ids(tokenizer))
        text = readable(tokenizer, token_ids[:length])
        answers = list(self._answers(text))
        end = answers[0][0] if answers else len(text)
        calls = list(self._calls(text)) if length == len(token_ids) else []
        early, late = ([call for place, call in calls if (place > end) == behind] for behind in (False, True))
        ignored = (
            *not_run(early[:-1], CallError.TWO_CALLS, "two calls in one turn; only the last one is run"),
            *not_run(late, CallError.AFTER_END, "a call behind the answer is not run"),
        )
        return Action(text, tuple(early[-1:]), ignored, answers[-1][1] if answers else None)

    def inside_calls(self, tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int]) -> list[bool]:
        """Tokens behind an opening tag, up to and with the closing one."""
        spans = re.compile(rf"(?<=<)({self._names})>(?P<inside>.*?(?:</\1>|\Z))", re.DOTALL)
        text = readable(tokenizer, token_ids)
        return tokens_within(tokenizer, token_ids, [match.span("inside") for match in spans.finditer(text)])

    def inside_stops(self, tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int]) -> list[bool]:
        """Tokens in front of which a closing tag has begun, if only with its first character."""
        text = readable(tokenizer, token_ids)
        heads = [tag[:length] for tag in self.stop_strings(tokenizer) for length in range(1, len(tag))]
        begun = "|".join(map(re.escape, sorted(set(heads), key=len, reverse=True)))  # the longest that is there
        spans = [(match.start() + 1, match.end() + 1) for match in re.finditer(begun, text)]
        return tokens_within(tokenizer, token_ids, spans)

    def stop_token_ids(self, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
        """The end of the chat template's turns, and the end of text where that is another token."""
        return ends_of_turn(tokenizer)

    def stop_strings(self, tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
        """The closing tags of the tools."""
        return tuple(f"</{tag}>" for tag in self.tools)

    @property
    def markers(self) -> tuple[str, ...]:
        """All tags."""
        return self._tags

    def check(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Check that a turn can end, that the chat template only appends, and that calls read as written."""
        if not tokenizer.chat_template:
            raise ValueError("TagFormat renders prompts with a chat template, and this tokenizer has none.")
        check_appending(self, tokenizer, answers=("user",))
        for called in self.tools.values():
            text = self.call(tokenizer, called.tool, {called.argument: "the mentor of É"})
            read = self.parse(tokenizer, self.action(tokenizer, text)).calls
            if [(call.name, call.arguments) for call in read] != [(called.tool, {called.argument: "the mentor of É"})]:
                raise ValueError(f"TagFormat does not read this tokenizer's calls: {text!r} came back as {read}.")

    @property
    def _tags(self) -> tuple[str, ...]:
        names = (*self.tools, self.result, "answer", "think")
        return tuple(f"<{slash}{name}>" for name in names for slash in ("", "/"))

    @property
    def _names(self) -> str:
        return "|".join(map(re.escape, self.tools))

    @property
    def _closing(self) -> re.Pattern[str]:
        return re.compile(f"</({self._names})>")

    def _answers(self, text: str) -> Iterator[tuple[int, str]]:
        """Where each answer ends, and what it is; thoughts hold none."""
        spoken = THINKING.sub(lambda thought: " " * len(thought.group()), text)  # places stay what they are
        for match in ANSWER.finditer(spoken):
            answer = boxed(match[1]) if self.boxed else match[1]
            if answer is not None:
                yield match.end(), answer.strip()

    def _calls(self, text: str) -> Iterator[tuple[int, ParsedCall]]:
        """Where each closing tag stands, and the call that it ends."""
        start = 0
        for closing in self._closing.finditer(text):
            tag, called = closing[1], self.tools[closing[1]]
            expected = f"<{tag}>...</{tag}> with the {called.argument} in between"
            opening = text.rfind(f"<{tag}>", start, closing.start())
            said = _unindented(text[opening + len(tag) + 2 : closing.start()]).strip()
            if opening < 0:
                call = malformed(CallError.HALF_TAG, f"{closing.group()} without <{tag}>", expected)
            elif not said:
                call = malformed(CallError.NOT_A_CALL, f"nothing stands in <{tag}>", expected, called.tool)
            else:
                call = ParsedCall(called.tool, {called.argument: said})
            yield closing.start(), call
            start = closing.end()

    def _instructed(
        self, messages: Sequence[Mapping[str, str]], tools: Sequence[dict[str, Any]]
    ) -> Sequence[Mapping[str, str]]:
        described = {tool["function"]["name"]: tool["function"]["description"] for tool in tools}
        lines = [
            f"<{tag}>{called.argument}</{tag}>: {described[called.tool]}"
            for tag, called in self.tools.items()
            if called.tool in described
        ]
        if described and not lines:
            raise ValueError(
                f"None of the environment's tools ({', '.join(described)}) has a tag; name it in data.format.tools."
            )
        if not self.instructions:
            return messages
        text = self.instructions.replace(TOOLS, "\n".join(lines))
        if messages[0]["role"] != "system":
            return [{"role": "system", "content": text}, *messages]
        return [{"role": "system", "content": f"{text}\n\n{messages[0]['content']}"}, *messages[1:]]


def _unindented(text: str) -> str:
    """Code may be indented as a whole, and without its first blanks alone it would not be Python any more."""
    return dedent(text) if all(line[0].isspace() for line in text.splitlines() if line.strip()) else text
