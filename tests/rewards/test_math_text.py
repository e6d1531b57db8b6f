r"""What of an answer is compared as mathematics."""

import pytest

from lightning_agentrl.rewards.math_text import expression, latex


@pytest.mark.parametrize(
    ("answer", "compared"),
    [
        (" 42 ", "42"),
        ("42.", "42"),
        ("4.2", "4.2"),
        (r"3\sqrt{3} - 6", r"3\sqrt{3} - 6"),
        (r"So it is \boxed{5}, not 6.", "5"),
        ("The answer is $5$.", "5"),
        (r"It is \(x = 5\).", "x = 5"),
        (r"\[ 5 \]", "5"),
        ("$$5$$", "5"),
        ("$5$ or $6$", "$5$ or $6$"),  # two: the policy hedges, so all of it is compared
        ("The answer is 5", "The answer is 5"),
        (r"\boxed{}", ""),
        ("", ""),
    ],
)
def test_an_answer_is_one_expression(answer: str, compared: str) -> None:
    assert expression(answer) == compared


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("1e-05", r"1 \times 10^{-5}"),
        ("-2.5E+10", r"-2.5 \times 10^{10}"),
        ("2e", "2e"),
        ("2e3x", "2e3x"),
        ("Monday", r"\text{Monday}"),
        ("New York", r"\text{New York}"),
        ("abc", "abc"),
        ("sin x", "sin x"),
        ("sin(x)", "sin(x)"),
        ("5 apples", "5 apples"),
    ],
)
def test_numbers_as_python_writes_them_and_words_become_latex(text: str, written: str) -> None:
    assert latex(text) == written
