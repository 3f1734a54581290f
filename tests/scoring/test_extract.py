r"""What counts as the answer in a text, strictly (`\boxed`) and leniently, for any text at all."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.scoring import boxed, final_part, last_letter, last_number

HOSTILE = st.text(alphabet="\\boxed{}()[]*$-.,/%0123456789ABab \n\u2212")
MANY = 200_000


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r"so \boxed{18}", "18"),
        (r"\boxed{1} no, \boxed{2}", "2"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\text{(B) } \{x\}}", r"\text{(B) } \{x\}"),
        (r"\boxed{\{18}", r"\{18"),
        (r"\boxed{\boxed{18}}", "18"),
        (r"\boxed{18} and then \boxed{19", "18"),
        (r"{{ \boxed{18}", "18"),
        (r"}} \boxed{18} }", "18"),
        (r"\boxed{18}. (Put your answer in \boxed{}.)", "18"),
        (r"\boxed { 18 }", "18"),
        (r"\fbox{18}", "18"),
        (r"\\boxed{18}", "18"),
        (r"\boxed{", None),
        (r"\boxed 18", None),
        ("boxed{18}", None),
        ("", None),
    ],
)
def test_the_last_balanced_box_counts(text: str, content: str | None) -> None:
    assert boxed(text) == content


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("That makes 2,125.", "2125"),
        ("1,450,000 in all", "1450000"),
        ("3.50 dollars", "3.50"),
        ("half is .5", ".5"),
        ("-$5 or $-5", "-5"),
        ("it is \u22127 degrees", "-7"),
        ("-\u00a55 or \u20b9-5", "-5"),
        ("-\u00a55", "-5"),
        ("5-3", "3"),
        ("- 3 apples", "3"),
        ("18%", "18"),
        ("**18**", "18"),
        ("1/2 cup", "1/2"),
        (r"-\frac{1}{2}", "-1/2"),
        ("1,2,3", "3"),
        ("12,3456", "3456"),
        ("4 atoms in H2O", "4"),
        ("none", None),
        ("", None),
    ],
)
def test_the_last_number_counts(text: str, number: str | None) -> None:
    assert last_number(text) == number


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("(B)", "B"),
        ("B. Water", "B"),
        ("Answer: B", "B"),
        ("**B**", "B"),
        (r"\text{B}", "B"),
        ("I think it is B, the water", "B"),
        ("(b)", "B"),
        ("answer: b", "B"),
        ("a) sand\nb) water", "B"),
        ("The answer is A", "A"),
        ("The answer is A because it is wet", "A"),
        ("A is right", "A"),
        ("Option A shows water", "A"),
        ("It is not B but A.", "A"),
        ("A dog is a mammal.", None),
        ("The answer is A dog", None),
        ("It must be B. A dog is no plant.", "B"),
        ("the choice is a decrease", None),
        ("it has a tail", None),
        ("made in the U.S.A.", None),
        ("at 25\u00b0C", None),
        ("A-level", None),
        ("E", None),
        ("", None),
    ],
)
def test_the_last_letter_by_itself_counts_and_an_article_does_not(text: str, letter: str | None) -> None:
    assert last_letter(text, ("A", "B", "C", "D")) == letter


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("so 18", "so 18"),
        ("<think>hm</think> so 18", " so 18"),
        ("hm</think> so 18", " so 18"),
        ("<think>a</think> b <think>c</think> d", " d"),
        ("<think>hm", ""),
        ("<think>a</think> b <think>c", ""),
        ("<think>a</think>", ""),
        ("</think", "</think"),
        ("", ""),
    ],
)
def test_what_follows_the_thoughts_is_said_and_thoughts_that_never_end_say_nothing(text: str, said: str) -> None:
    assert final_part(text) == said


def test_without_labels_there_is_no_letter() -> None:
    assert last_letter("A", ()) is None


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(), HOSTILE))
def test_any_text_has_a_reading(text: str) -> None:
    assert boxed(text) != ""
    assert last_number(text) != ""
    assert last_letter(text, "AB") in ("A", "B", None)


@settings(max_examples=100, deadline=None)
@given(HOSTILE, st.text(alphabet="0123456789.,-/ ").filter(str.strip))
def test_a_box_at_the_end_is_found_after_any_text_that_leaves_no_escape_open(before: str, content: str) -> None:
    assert boxed(f"{before} \\boxed{{{content}}}") == content.strip()


@pytest.mark.parametrize(
    "piece",
    ["{", "}", "\\", "\\boxed{", "\\boxed", "\\frac{1", "1", ",111", "1/", "-", "$", "A ", "(a", " ", "1,", "<think>"],
)
def test_long_texts_take_linear_time(piece: str) -> None:
    text = piece * (MANY // len(piece))
    started = time.perf_counter()
    final_part(text), boxed(text), last_number(text), last_letter(text, "ABCD")
    # A quadratic scan of this length takes minutes.
    assert time.perf_counter() - started < 5
