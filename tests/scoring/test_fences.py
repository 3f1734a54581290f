"""Which code counts in a text, strictly and leniently: fenced blocks as Markdown defines them, for any text at all."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.scoring import last_code_block, last_python_block

CODE = "def one():\n    return 1"
LINES = st.lists(
    st.sampled_from(
        [
            "```",
            "````",
            "~~~",
            "```python",
            "~~~py",
            "   ```",
            "\t```",
            "    ```py",
            "",
            "x = 1",
            "    y",
            "> ```",
            "- ```py",
            ">",
        ]
    )
)

PROSE = st.text(st.characters(exclude_characters="`~\r\n", exclude_categories=["Cs"]))


@pytest.mark.parametrize(
    "text",
    [
        f"```python\n{CODE}\n```",
        f"So:\n\n```Python\n{CODE}\n```\nDone.",
        f"```py\n{CODE}\n```",
        f"```python3\n{CODE}\n```",
        f"~~~ PYTHON title=one.py\n{CODE}\n~~~",
        f"```python:one.py\n{CODE}\n```",
        f"````python\n{CODE}\n``````",
        f"```python\n{CODE}\n   ```  ",
        f"```python\r\n{CODE}\r\n```\r\n".replace("\n ", "\r\n "),
        f"```python\nold = 1\n```\nBetter:\n```python\n{CODE}\n```",
        f"```python\n{CODE}\n```\nIt prints\n```\n1\n```",
        f"```python\n{CODE}\n```\n```python\n```",
        f"```python\n{CODE}\n```\n```python\nx =",
        "1. Write it:\n    ```python\n    def one():\n        return 1\n    ```",
        "1. Write it:\n\t```python\n\tdef one():\n\t    return 1\n\t```",
        "- ```python\n  def one():\n      return 1\n  ```",
        f"- ```python\n{CODE}\n```",
        f"10. ```python\n{CODE}\n```",
        "1.  * ```python\n      def one():\n          return 1\n      ```",
        "> ```python\n> def one():\n>     return 1\n> ```\nDone.",
        "> > ```python\n> > def one():\n> >     return 1\n> > ```",
        "> - ```python\n>   def one():\n>       return 1\n>   ```",
        f"> ```python\n> x =\n\n```python\n{CODE}\n```",
        f"```{{python}}\n{CODE}\n```",
        f"``` {{.python .numbered}}\n{CODE}\n```",
        f"```{{r}}\nx <- 1\n```\n```{{python, echo=FALSE}}\n{CODE}\n```\n```{{r}}\nx\n```",
        f"Use ```python``` here.\n```python\n{CODE}\n```",
    ],
)
def test_the_last_closed_python_block_is_the_answer_in_both_readings(text: str) -> None:
    assert last_python_block(text) == last_code_block(text) == CODE


@pytest.mark.parametrize(
    "text",
    [
        f"```\n{CODE}\n```",
        f"```py3k\n{CODE}\n```",
        f"~~~code\n{CODE}\n~~~",
        f"```text\nhello\n```\n```\n{CODE}\n```\n```python\nx =",
        f"```python\n{CODE}",
        f"Here it is: \n```python\n{CODE}\n``",
        f"```\n{CODE}\n```\n```",
        "> ```python\n> def one():\n>     return 1\nAnd so on.\n```",
        f"```{{r}}\n{CODE}\n```",
    ],
)
def test_another_block_and_one_that_is_cut_off_count_only_leniently(text: str) -> None:
    assert last_python_block(text) is None
    found = last_code_block(text)
    assert found is not None
    assert found.startswith(CODE)


@pytest.mark.parametrize("text", ["", CODE, "`one()`", "```", "```python\n```", "``python\nx = 1\n``", "a ```\nb\n"])
def test_without_a_block_there_is_no_code(text: str) -> None:
    assert last_python_block(text) is None
    assert last_code_block(text) is None


@pytest.mark.parametrize(
    "inner",
    [
        'fence = "```"',
        '"""\n    ```\n    one()\n    ```\n    """',
        '"""\n~~~\n"""',
        '"""\n```python\n"""',
        '"""\n- ```\n> ```\n"""',
    ],
    ids=["in a line", "far indented", "of the other kind", "with a language", "in a list or a quote"],
)
def test_what_looks_like_a_fence_inside_the_code_does_not_close_it(inner: str) -> None:
    assert last_python_block(f"```python\n{inner}\nx = 1\n```") == f"{inner}\nx = 1"


def test_a_longer_fence_holds_a_shorter_one() -> None:
    assert last_python_block('````python\ntext = """\n```\n"""\n````') == 'text = """\n```\n"""'


def test_a_shorter_indentation_than_the_fences_loses_no_code() -> None:
    assert last_python_block("   ```python\n  if x:\n       y()\n   ```") == "if x:\n    y()"


def test_form_feeds_and_unicode_separators_end_no_line() -> None:
    assert last_python_block('```python\nx = "\f\u2028"\n```') == 'x = "\f\u2028"'


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(), st.text(alphabet="`~\n\t py"), LINES.map("\n".join)))
def test_any_text_has_a_reading_and_the_lenient_one_follows_the_strict(text: str) -> None:
    strict = last_python_block(text)
    assert strict is None or strict.strip()
    assert strict is None or last_code_block(text) == strict


@settings(max_examples=100, deadline=None)
@given(PROSE, st.lists(PROSE, min_size=1).filter(lambda lines: any(map(str.strip, lines))), PROSE)
def test_whatever_stands_in_a_block_comes_out_as_it_is(before: str, lines: list[str], after: str) -> None:
    code = "\n".join(lines)
    assert last_python_block(f"{before}\n```python\n{code}\n```\n{after}") == code


@pytest.mark.parametrize(
    "piece",
    [
        "`",
        "~",
        "```\n",
        "~~~py\n",
        " ",
        "\t",
        " ```py\n\t",
        "\r",
        "```python ",
        "`a",
        ">",
        "> ",
        "- ",
        "> ```\n",
        "1. ",
    ],
)
def test_a_megabyte_of_fences_takes_linear_time(piece: str) -> None:
    text = piece * (1_000_000 // len(piece))
    started = time.perf_counter()
    last_python_block(text), last_code_block(f"```\n{text}"), last_code_block(f"{text}```\n{text}")
    # A quadratic scan of this length takes minutes.
    assert time.perf_counter() - started < 30
