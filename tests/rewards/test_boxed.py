r"""What stands in the last \boxed{…}."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_agentrl.rewards.boxed import boxed


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r"\boxed{5}", "5"),
        (r"So \boxed{5}, or rather \boxed{6}.", "6"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\boxed{5} + 1}", r"\boxed{5} + 1"),
        (r"\boxed {5}", "5"),
        (r"\fbox{5}", "5"),
        (r"\boxed{}", ""),
        (r"\boxed{5} and \boxed{6", "5"),
        (r"{ \boxed{5}", "5"),
        (r"} \boxed{5}", "5"),
        (r"\boxed{5 \} ", None),
        (r"\\boxed{5}", None),  # a line break, then plain letters
        (r"\boxed 5", None),
        ("5", None),
        ("", None),
        ("\\", None),
    ],
)
def test_the_last_whole_box_counts(text: str, content: str | None) -> None:
    assert boxed(text) == content


@given(inner=st.text(alphabet="{}\\ab 1").filter(lambda text: boxed("\\boxed{" + text + "}") == text))
def test_what_is_around_a_box_does_not_matter(inner: str) -> None:
    assert boxed(r"The answer is { \boxed{" + inner + r"} } for \{ sure.") == inner


@pytest.mark.parametrize("piece", [r"\boxed{", "{", "}", r"\boxed{}", "\\"])
def test_a_hundred_thousand_of_anything_take_no_time(piece: str) -> None:
    begin = time.process_time()
    boxed(piece * 100_000)
    assert time.process_time() - begin < 2  # a pass for each opening would take minutes
