r"""Grading: by value, not by spelling; bounded in time; a reason for every wrong answer."""

import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.records import Kind, Question
from pipeline.scoring import grade
from pipeline.scoring.expressions import equal_expressions
from pipeline.scoring.grade import same_value

HOSTILE = st.text(alphabet="\\boxedfracsqrt{}()[]*$-+=.,/%^0123456789AB \n", max_size=80)


def question(gold: str, kind: Kind = "number", labels: str = "") -> Question:
    return Question(id="q", text="?", kind=kind, gold=gold, labels=tuple(labels))


NUMBER = question("18")
CHOICE = question("B", "choice", "ABCD")


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("2125", "2,125"),
        ("70000", "70,000"),
        ("70000", r"70{,}000"),
        ("70000", "70 000"),
        ("18", "18.00"),
        ("18", "18."),
        ("25", "025"),
        ("0.5", r"\frac{1}{2}"),
        ("0.5", r"\frac12"),
        ("0.5", "1/2"),
        ("-0.5", r"-\dfrac{1}{2}"),
        ("2.5", r"2\frac{1}{2}"),
        ("2.5", "2 1/2"),
        ("-10", "\u221210"),
        ("1000", "1e3"),
        ("18", "18 dollars"),
        ("18", r"\$18"),
        ("18", "$18$"),
        ("18", r"\text{18}"),
        ("18", r"\textbf{18}"),
        ("18", r"18\%"),
        ("0.18", r"18\%"),
        ("18", "x = 18"),
        ("18", r"\text{Answer: }18"),
        ("18", r"18\text{ cm}^2"),
        ("18", r"18\,\frac{\text{km}}{\text{h}}"),
        ("18", "18 m/s"),
        ("18", r"18^\circ"),
        ("18000000", "18 million"),
        ("1,200", "1200"),
        ("7", r"7^{th}"),
        ("7", r"7^{\text{th}}\text{ day}"),
        ("21", "21^{st}"),
        ("7", r"\text{Day } 7"),
        ("18", r"\text{Janet makes } \$18"),
        ("18", "Janet's profit is 18 dollars a day"),
        ("7.5", "7\u00bd"),
        ("0.75", "\u00be cup"),
        ("-0.5", "-\u00bd"),
        ("18", "\u00a518"),
        ("18", "\u20b918"),
        ("18", r"\large 18"),
        ("18", r"{\bf 18}"),
        ("7", r"7\text{ ft}\cdot\text{lb}"),
        ("7", "7 N\u00b7m"),
    ],
)
def test_a_plain_number_counts_by_value(gold: str, answer: str) -> None:
    assert same_value(gold, answer)
    assert grade(question(gold), rf"\boxed{{{answer}}}", truncated=False).correct


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("7000000", "7 Million"),
        ("7000000", "7 millions"),
        ("7000000", r"7\text{ MILLION dollars}"),
        ("7000000000", "7 bn"),
        ("7000000", r"\$7 mln"),
        ("700000", "7 Lakhs"),
        ("70000000", "7 crore"),
        ("5000", r"5 \text{ Thousand}"),
        ("700000", "7 hundred thousand"),
        ("7000000000000", "7 thousand billion"),
        ("2500000", "2.5 Million people"),
    ],
)
def test_words_of_scale_multiply(gold: str, answer: str) -> None:
    assert same_value(gold, answer)
    assert not same_value(gold[0], answer)


def test_a_half_in_an_exponent_is_a_half() -> None:
    assert same_value("1.41421356", "2^{\u00bd}")
    assert not same_value("1", "2^\u00bd")


@pytest.mark.parametrize("unit", ["people per million", "parts per thousand", "Plus 1", "And A Half"])
def test_words_of_scale_count_only_right_after_the_number(unit: str) -> None:
    assert same_value("7", f"7 {unit}") == unit.startswith("p")
    assert not same_value("7000000", f"7 {unit}")


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("18", r"2\sqrt{81}"),
        ("18", r"3 \times 6"),
        ("18", "2(4+5)"),
        ("1024", "2^10"),
        ("5", "10 \\times \u00bd"),
        ("0.70710678", "\\sqrt{\u00bd}"),
        ("1500", r"1.5 \times 10^3"),
        ("4000", r"2 \cdot 2,000"),
        ("1/3", "0.333333"),
        ("3.14159265", r"\pi"),
        (r"2\sqrt{2}", r"\sqrt{8}"),
    ],
)
def test_an_expression_counts_by_value(gold: str, answer: str) -> None:
    assert same_value(gold, answer)


@pytest.mark.parametrize(
    ("gold", "answer"),
    [("(1,2)", r"$(1,\ 2)$"), ("3:2", "3 : 2"), (r"\frac{1}{2}", "0.5"), (r"2\pi", r"2\pi"), ("1, 2", r"\text{1, 2}")],
)
def test_a_gold_that_is_no_single_number_counts_as_it_is_written(gold: str, answer: str) -> None:
    assert same_value(gold, gold)
    assert same_value(gold, answer)
    assert not same_value(gold, "9" + answer)


@pytest.mark.parametrize(
    "answer",
    [
        "", "19", "-18", "18 or 20", "18, 20", "18 and a half", "18x", "18!", "18:30", "eighteen", "18 million",
        "x > 18", r"x \neq 18", r"\pm 18", r"\frac{18}{0}", r"18\pi", r"\sqrt{-18}", r"\{18\}", r"\infty", "nan",
        "not 18", "the answer isn't 18", "minus 18", "more than 18", "at least 18", "half 18", "square root of 18",
        "x 18", "point 18", "one 18", "hundred 18", "fifteen 18", "profit - 18", "CO18", r"18^{t}", r"18x \cdot y",
        r"2^\text{th}18", "18\u00bd", r"\log 18", r"18 \text{ or } \text{day } 20",
        "1.8.0", "18\u03c0", "1 \\quad 8", "1 8", "2 9",
    ],
)  # fmt: skip
def test_another_value_or_several_are_wrong(answer: str) -> None:
    assert not same_value("18", answer)


@pytest.mark.parametrize(
    "answer",
    [
        "9^{9^{9}}", "9^9^9", "9**9**9**9", "((2^{99})^{99})^{99}", "1e999999999", "1e" + "9" * 200, "9" * 1_000_000,
        "(" * 500_000, r"\sqrt{" * 9 + "2" + "}" * 9, "(" * 30 + "1" + ")" * 30, "99999999!", r"\sum_{n=1}^{10^{9}} n",
        r"(a+b+c)^{300}", "{" * 20 + "18" + "}" * 20, r"\frac{1}{" * 200_000, "-" * 1_000_000, "a" * 1_000_000,
    ],
    ids=lambda answer: answer[:20],
)  # fmt: skip
def test_no_answer_takes_long(answer: str) -> None:
    same_value("1", r"\sqrt{1}")  # the library's import is not what is timed
    started = time.perf_counter()
    grade(NUMBER, rf"\boxed{{{answer}}}", truncated=False)
    same_value("18", answer)
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize(
    "piece",
    [
        "{",
        "}",
        "\\",
        "\\boxed{",
        "\\boxed{1}",
        "1",
        "A",
        "(A) ",
        "\\text{",
        "```python\n",
        "= ",
        "\\frac",
        "1, ",
        "^",
        "\n",
    ],
)
@pytest.mark.parametrize("asked", [NUMBER, CHOICE], ids=["number", "choice"])
def test_a_megabyte_of_anything_is_graded_in_linear_time(asked: Question, piece: str) -> None:
    text = piece * (1_000_000 // len(piece))
    started = time.perf_counter()
    for answer in (text, rf"\boxed{{{text}}}", rf"{text} \boxed{{18}}"):
        grade(asked, answer, truncated=True)
    # A quadratic scan of this length takes minutes.
    assert time.perf_counter() - started < 60


def test_grading_works_in_a_thread() -> None:
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(equal_expressions("18", r"2\sqrt{81}")))
    thread.start()
    thread.join()
    assert found == [True]


@pytest.mark.parametrize(
    "answer",
    [
        "B", "(B)", r"\text{B}", "b.", "b", "B. 12 mg", "B) 12 mg", r"\textbf{(B)}", "B)", "Option B", "$B$", "[B]",
        "Answer: B", "The answer is B.", r"\mathrm{B}", r"\text{(B) 12 mg}", "B: water", "B. A dog", "**B**",
        r"\text{B} \quad \text{Mitochondria}", r"B \\ ", r"\text{B} \\ \text{12 mg}", "B because it is wet",
        "B since A is dry",
    ],
)  # fmt: skip
def test_a_label_counts_however_it_is_dressed(answer: str) -> None:
    score = grade(CHOICE, rf"\boxed{{{answer}}}", truncated=False)
    assert (score.correct, score.prediction, score.reason) == (True, "B", "correct")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("C", "wrong"), ("A. B", "not_an_option"), ("A and B", "not_an_option"), ("A, B", "not_an_option"),
        ("E", "not_an_option"), ("2", "not_an_option"), ("Bees", "not_an_option"), ("A dog", "not_an_option"),
        ("A, C, and E", "not_an_option"), (r"B \quad C", "not_an_option"), (r"C \quad = 5", "not_an_option"),
        ("B(t)", "not_an_option"), ("C = 5", "not_an_option"), ("B cells", "not_an_option"), ("", "no_answer"),
    ],
)  # fmt: skip
def test_another_label_is_wrong_and_none_or_several_are_no_option(answer: str, reason: str) -> None:
    score = grade(CHOICE, rf"\boxed{{{answer}}}", truncated=False)
    assert (score.correct, score.correct_lenient, score.reason) == (False, False, reason)


LISTED = Question(
    id="q",
    text="Where?\nB. Alone\n\nA. dog\nB. Mitochondria\nC. B cells\nD. O",
    kind="choice",
    gold="B",
    labels=tuple("ABCD"),
)


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ("B Mitochondria", "B"),
        (r"\text{B mitochondria.}", "B"),
        ("The answer is B Mitochondria", "B"),
        ("A dog", "A"),
        ("D. O", "D"),
        ("D (O)", "D"),
        ("B cells", None),
        ("B Alone", None),
        ("A Mitochondria", None),
        ("A mitochondrion", None),
        ("D O, B", None),
    ],
)
def test_a_label_may_be_followed_by_its_options_text(answer: str, label: str | None) -> None:
    score = grade(LISTED, rf"\boxed{{{answer}}}", truncated=False)
    assert score.reason == {"B": "correct", None: "not_an_option"}.get(label, "wrong")
    assert label is None or score.prediction == label


def test_an_article_before_one_options_text_may_be_another_option() -> None:
    both = Question(id="q", text="?\n\nA. dog\nB. A dog", kind="choice", gold="A", labels=("A", "B"))
    assert grade(both, r"\boxed{A dog}", truncated=False).reason == "not_an_option"
    assert grade(both, r"\boxed{A. dog}", truncated=False).reason == "correct"


def test_options_beyond_the_rows_own_are_no_option() -> None:
    assert grade(question("B", "choice", "ABC"), r"\boxed{D}", truncated=False).reason == "not_an_option"


@pytest.mark.parametrize(("truncated", "reason"), [(False, "no_answer"), (True, "truncated")])
def test_without_a_box_only_the_lenient_reading_can_be_right(truncated: bool, reason: str) -> None:
    score = grade(NUMBER, "So it is 18.", truncated=truncated)
    assert (score.correct, score.correct_lenient, score.prediction_lenient) == (False, True, "18")
    assert (score.prediction, score.reason) == ("", reason)
    score = grade(CHOICE, "So it is (B).", truncated=truncated)
    assert (score.correct, score.correct_lenient, score.prediction_lenient) == (False, True, "B")


def test_a_box_counts_for_both_readings_and_before_any_cut() -> None:
    score = grade(NUMBER, r"\boxed{18} dollars, out of 20, which", truncated=True)
    assert (score.correct, score.correct_lenient, score.reason) == (True, True, "correct")
    score = grade(NUMBER, r"\boxed{17}, or rather 18", truncated=False)
    assert (score.correct, score.correct_lenient, score.prediction_lenient) == (False, False, "17")


@pytest.mark.parametrize(("asked", "right", "other"), [(NUMBER, "18", "20"), (CHOICE, "B", "C")])
def test_what_thoughts_box_is_no_answer(asked: Question, right: str, other: str) -> None:
    score = grade(asked, rf"<think>Try \boxed{{{right}}}? Not sure", truncated=True)
    assert (score.correct, score.correct_lenient, score.reason) == (False, True, "truncated")
    assert (score.prediction, score.prediction_lenient) == ("", right)
    score = grade(asked, rf"<think>Try \boxed{{{other}}}</think> It is ({right}).", truncated=False)
    assert (score.correct, score.correct_lenient, score.reason) == (False, True, "no_answer")
    score = grade(asked, rf"<think>Try \boxed{{{other}}}</think> \boxed{{{right}}}", truncated=False)
    assert (score.correct, score.reason) == (True, "correct")


def test_nothing_said_is_no_answer() -> None:
    score = grade(NUMBER, "", truncated=False)
    assert (score.correct_lenient, score.prediction_lenient, score.reason) == (False, "", "no_answer")


@settings(max_examples=100, deadline=None)
@given(st.one_of(st.text(), HOSTILE, HOSTILE.map(lambda inner: rf"\boxed{{{inner}}}")), st.booleans())
def test_any_text_gives_a_score(text: str, truncated: bool) -> None:
    for asked in (NUMBER, CHOICE):
        score = grade(asked, text, truncated=truncated)
        assert score.correct <= score.correct_lenient
        assert (score.reason == "correct") == score.correct


@settings(max_examples=50, deadline=None)
@given(st.integers(-(10**12), 10**12), st.sampled_from(["{:,}", "{}.00", r"\text{{{} dollars}}", "x = {}", r"\${:,}"]))
def test_every_whole_number_equals_itself_however_it_is_written(number: int, form: str) -> None:
    assert same_value(str(number), form.format(number))
    assert not same_value(str(number + 1), form.format(number))
