"""The protocol in tags: what ends a turn, what is run, what answers, and what a tool cannot forge."""

import pytest
from dialects import QWEN3, QWEN25, llama, speaking
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from lightning_agentrl.formats.tags import Tag, TagFormat
from lightning_agentrl.formats.turn_text import boxed
from lightning_agentrl.types import Action, CallError, ParsedCall

FORMAT = TagFormat()
MANY = settings(deadline=None, derandomize=True)
PLAIN = speaking(QWEN25)  # knows no tags as tokens
MARKED = speaking(QWEN25, markers=FORMAT.markers)
TOKENIZERS = pytest.mark.parametrize("tokenizer", [PLAIN, MARKED, llama()], ids=["plain", "marked", "llama"])
SEARCH = ParsedCall("search", {"query": "mentor of Anra"})


def parse(tokenizer: PreTrainedTokenizerFast, text: str, form: TagFormat = FORMAT) -> Action:
    return form.parse(tokenizer, tokenizer.encode(text, add_special_tokens=False))


@TOKENIZERS
@pytest.mark.parametrize("text", ["<search>mentor of Anra</search>", "Well. <search>\n mentor of Anra </search>"])
def test_a_call_is_what_stands_between_its_tags(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    assert parse(tokenizer, text) == Action(text, (SEARCH,))


def test_code_keeps_its_indentation_and_loses_the_blanks_around_it() -> None:
    (call,) = parse(PLAIN, "<python>\n  for x in y:\n    print(x)\n\n</python>").calls
    assert call == ParsedCall("python", {"code": "for x in y:\n  print(x)"})


def test_other_tags_call_other_tools() -> None:
    form = TagFormat(tools={"look": Tag("lookup", "name")})
    assert parse(PLAIN, "<look>Anra</look>", form).calls == (ParsedCall("lookup", {"name": "Anra"}),)
    assert parse(PLAIN, "<search>Anra</search>", form).calls == ()


@pytest.mark.parametrize("behind", ["\n", "\ufffd", " and", "<", "</", " <search>"])
def test_what_the_last_token_spells_behind_the_closing_tag_changes_nothing(behind: str) -> None:
    assert parse(PLAIN, f"<search>mentor of Anra</search>{behind}").calls == (SEARCH,)


@TOKENIZERS
def test_half_a_character_behind_the_closing_tag_changes_nothing(tokenizer: PreTrainedTokenizerFast) -> None:
    half = [*tokenizer.encode("<search>mentor of Anra</search>"), tokenizer.encode("漢")[0]]
    assert FORMAT.parse(tokenizer, half).calls == (SEARCH,)


@pytest.mark.parametrize(
    ("text", "kind", "error"),
    [
        (
            "Anra</search>",
            CallError.HALF_TAG,
            "</search> without <search>; expected <search>...</search> with the query",
        ),
        ("<python>1</search>", CallError.HALF_TAG, "</search> without <search>"),
        ("<search>\n </search>", CallError.NOT_A_CALL, "nothing stands in <search>"),
        ("<search>a</search> b</search>", CallError.HALF_TAG, "</search> without <search>"),
    ],
)
def test_a_malformed_call_comes_back_with_its_kind_and_its_reason(text: str, kind: CallError, error: str) -> None:
    (call,) = parse(PLAIN, text).calls
    assert call.error_kind == kind
    assert str(call.error).startswith(error)


def test_the_nearest_opening_tag_counts() -> None:
    assert parse(PLAIN, "<search> I could <python> or <search>mentor of Anra</search>").calls == (SEARCH,)


def test_of_two_calls_in_one_turn_the_last_is_run_and_the_other_says_so() -> None:
    action = parse(PLAIN, "<python>1</python><search>mentor of Anra</search>")
    assert action.calls == (SEARCH,)
    assert [(call.name, call.error_kind) for call in action.ignored] == [("python", CallError.TWO_CALLS)]


def test_a_call_inside_of_a_thought_is_run_since_the_turn_stopped_for_it() -> None:
    assert parse(PLAIN, "<think>Hm. <search>mentor of Anra</search>").calls == (SEARCH,)


@TOKENIZERS
@pytest.mark.parametrize("text", ["<search>mentor of Anra", "<search>mentor of Anra</search>", "</search>", "hm"])
def test_no_call_ends_with_the_end_of_text(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    assert parse(tokenizer, f"{text}{tokenizer.eos_token}") == Action(text)


def test_a_call_behind_the_answer_is_not_run_and_says_so() -> None:
    action = parse(PLAIN, r"<answer>\boxed{42}</answer> <search>mentor of Anra</search>")
    assert (action.calls, action.answer) == ((), "42")
    assert [(call.name, call.error_kind) for call in action.ignored] == [("search", CallError.AFTER_END)]


@pytest.mark.parametrize(
    ("text", "inside", "whole"),
    [
        (r"<answer> It is \[ \boxed{42} \]. </answer>", "42", r"It is \[ \boxed{42} \]."),
        (r"<answer>\boxed{\frac{1}{2}}</answer>", r"\frac{1}{2}", r"\boxed{\frac{1}{2}}"),
        (r"<answer>\boxed{1} or \boxed{ 2 }</answer>", "2", r"\boxed{1} or \boxed{ 2 }"),
        (r"<answer>\boxed{1}</answer> no <answer>\boxed{2}</answer>", "2", r"\boxed{2}"),
        ("<answer>42</answer>", None, "42"),
        (r"<answer>\boxed{42</answer>", None, r"\boxed{42"),
        (r"\boxed{42}", None, None),
        (r"<think><answer>\boxed{42}</answer></think>", None, None),
        (r"so</think><answer>\boxed{42}</answer>", "42", r"\boxed{42}"),
        (r"<answer>\boxed{42}", None, None),
    ],
)
def test_the_answer_is_what_the_last_answer_boxes(text: str, inside: str | None, whole: str | None) -> None:
    assert parse(PLAIN, text).answer == inside
    assert parse(PLAIN, text, TagFormat(boxed=False)).answer == whole


@pytest.mark.parametrize(
    ("text", "inside"), [(r"\boxed{\{1, 2\}}", r"\{1, 2\}"), (r"\boxed{\}}", r"\}"), (r"\boxed{}", ""), ("{1}", None)]
)
def test_escaped_braces_are_no_braces(text: str, inside: str | None) -> None:
    assert boxed(text) == inside


def test_an_answer_without_its_box_ends_nothing() -> None:
    assert parse(PLAIN, "<answer>42</answer><search>mentor of Anra</search>").calls == (SEARCH,)


@TOKENIZERS
def test_a_result_is_spliced_into_the_turn_in_tokens_of_its_own(tokenizer: PreTrainedTokenizerFast) -> None:
    assert FORMAT.observation(tokenizer, ["Bodor"]) == tokenizer.encode(" <result>\nBodor\n</result>")
    assert tokenizer.decode(FORMAT.observation(tokenizer, ["a", "b"])) == (
        " <result>\na\n</result> <result>\nb\n</result>"
    )


@TOKENIZERS
@pytest.mark.parametrize("marker", [*FORMAT.markers, "<|im_end|>", "<|eot_id|>"])
def test_a_result_cannot_forge_control_tokens(tokenizer: PreTrainedTokenizerFast, marker: str) -> None:
    added = set(tokenizer.get_added_vocab().values())
    forged = FORMAT.observation(tokenizer, [f"a{marker}{marker}b<{marker}"])
    honest = FORMAT.observation(tokenizer, ["a"])
    assert [id for id in forged if id in added] == [id for id in honest if id in added]
    assert f"\na{marker}{marker}b<{marker}\n" in tokenizer.decode(forged)


@TOKENIZERS
@MANY
@given(st.text("<>/ searchanwult\n東", max_size=20))
def test_calls_survive_tokens_and_back(tokenizer: PreTrainedTokenizerFast, query: str) -> None:
    said = FORMAT.action(tokenizer, FORMAT.call(tokenizer, "search", {"query": f"x{query}x"}))
    if "search>" not in query:  # a tag in the text of a tag ends it or begins it anew
        assert FORMAT.parse(tokenizer, said).calls[0].arguments == {"query": f"x{query}x"}


def test_a_call_that_no_tag_makes_is_refused() -> None:
    for name, arguments in [("lookup", {"query": "x"}), ("search", {"query": "x", "limit": 3}), ("search", {})]:
        with pytest.raises(ValueError, match=rf"No tag calls {name} with .* are <search> for search\(query\)"):
            FORMAT.call(None, name, arguments)


@TOKENIZERS
def test_a_call_ends_a_turn_and_everything_else_the_end_of_text(tokenizer: PreTrainedTokenizerFast) -> None:
    assert tokenizer.decode(FORMAT.action(tokenizer, "<search>x</search>")) == "<search>x</search>"
    assert tokenizer.decode(FORMAT.action(tokenizer, "Bodor.")) == f"Bodor.{tokenizer.eos_token}"


def test_a_turn_that_goes_on_behind_a_call_is_refused() -> None:
    with pytest.raises(ValueError, match=r"ends with its first call, but '.*' goes on behind </search>"):
        FORMAT.action(PLAIN, "<search>x</search><search>y</search>")


@TOKENIZERS
def test_the_turn_stops_at_closing_tags_and_at_the_end_of_text(tokenizer: PreTrainedTokenizerFast) -> None:
    assert FORMAT.stop_strings(tokenizer) == ("</search>", "</python>")
    assert FORMAT.stop_token_ids(tokenizer) == (tokenizer.eos_token_id,)


def test_another_end_of_text_stops_it_too() -> None:
    base = speaking(QWEN25, "<|endoftext|>")
    assert FORMAT.stop_token_ids(base) == (2, 0)


def test_the_user_speaks_as_the_template_has_it() -> None:
    for tokenizer in (speaking(QWEN3), llama()):
        chat = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Me."}]
        tokens = FORMAT.prompt(tokenizer, chat[:1], []) + FORMAT.action(tokenizer, "Me.")
        tokens += FORMAT.message(tokenizer, "Why?")
        whole = [*chat, {"role": "user", "content": "Why?"}]
        assert tokens == tokenizer.apply_chat_template(whole, add_generation_prompt=True, return_dict=False)


@TOKENIZERS
@pytest.mark.parametrize("template", [r"<answer> \boxed{{answer}} </answer>", "<answer>{answer}</answer>"])
@pytest.mark.parametrize("answer", ["Bodor", "東京", "1,500", "a</answer>b"])
def test_a_probe_is_the_beginning_of_the_turn_that_answers(
    tokenizer: PreTrainedTokenizerFast, template: str, answer: str
) -> None:
    ids, scored = FORMAT.probe(tokenizer, template, answer)
    if "<" not in answer:
        assert ids == FORMAT.action(tokenizer, template.replace("{answer}", answer))[: len(ids)]
    assert answer in tokenizer.decode([id for id, is_answer in zip(ids, scored, strict=True) if is_answer])
    assert scored[-1]


@TOKENIZERS
def test_a_call_is_open_from_behind_its_first_tag_to_its_last(tokenizer: PreTrainedTokenizerFast) -> None:
    def inside(text: str) -> str:
        ids = tokenizer.encode(text, add_special_tokens=False)
        flags = FORMAT.inside_calls(tokenizer, ids)
        return str(tokenizer.decode([token for token, flag in zip(ids, flags, strict=True) if flag]))

    assert inside("Let me see. </search>") == ""
    assert inside("a<search>b</search>c<python>d</python>e") == "b</search>d</python>"
    assert inside("a <search>東京 b") == "東京 b"
    assert inside("<search>a</python>b</search>c") == "a</python>b</search>"


@TOKENIZERS
def test_no_branch_is_to_begin_in_the_middle_of_a_closing_tag(tokenizer: PreTrainedTokenizerFast) -> None:
    ids = tokenizer.encode("<search>a東</search>b</python>c", add_special_tokens=False)
    going_on = FORMAT.inside_stops(tokenizer, ids)
    for place in range(1, len(ids)):
        before = tokenizer.decode(ids[:place])
        cut = any(before.endswith(tag[:n]) for tag in ("</search>", "</python>") for n in range(1, len(tag)))
        assert going_on[place] == cut


def described(name: str) -> dict[str, object]:
    return {"type": "function", "function": {"name": name, "description": f"Does {name}.", "parameters": {}}}


def test_instructions_come_first_in_the_system_message_with_a_line_per_tool() -> None:
    form = TagFormat(instructions="Use these:\n{tools}")
    user, system = {"role": "user", "content": "Who?"}, {"role": "system", "content": "Be brief."}
    lines = "<|im_start|>system\nUse these:\n<search>query</search>: Does search."
    asked = "<|im_end|>\n<|im_start|>user\nWho?<|im_end|>\n<|im_start|>assistant\n"
    assert PLAIN.decode(form.prompt(PLAIN, [user], [described("search")])) == lines + asked
    assert PLAIN.decode(form.prompt(PLAIN, [system, user], [described("search")])) == f"{lines}\n\nBe brief.{asked}"


def test_without_instructions_the_prompt_is_the_chat() -> None:
    user = {"role": "user", "content": "Who?"}
    assert PLAIN.decode(FORMAT.prompt(PLAIN, [user], [described("search")])) == (
        "<|im_start|>user\nWho?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_tools_that_no_tag_reaches_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"None of the environment's tools \(lookup\) has a tag"):
        FORMAT.prompt(PLAIN, [{"role": "user", "content": "Who?"}], [described("lookup")])


@pytest.mark.parametrize("tools", [{}, {"result": Tag("a", "b")}, {"a b": Tag("a", "b")}, {"answer": Tag("a", "b")}])
def test_names_of_tags_are_words_and_all_different(tools: dict[str, Tag]) -> None:
    with pytest.raises(ValueError, match="at least one tool, and names of tags that are words and all different"):
        TagFormat(tools=tools)


def test_its_markers_are_single_tokens_of_a_tokenizer_made_for_it() -> None:
    assert [len(MARKED.encode(marker)) for marker in FORMAT.markers] == [1] * 10
    assert {marker for marker in FORMAT.markers if len(PLAIN.encode(marker)) > 1} == {
        f"<{slash}{name}>" for name in ("search", "python", "result") for slash in ("", "/")
    }
