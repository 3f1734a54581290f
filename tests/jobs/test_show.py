"""The show of jobs/ask.py: events in, lines out."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from jobs.asks.events import (
    AgentEnds,
    AgentLeftOut,
    AgentReads,
    Held,
    MethodBegins,
    Outcome,
    StepTaken,
    TextWritten,
)
from jobs.asks.harmless import harmless
from jobs.asks.outcomes import answers, table
from jobs.asks.show import MARGIN, Show
from pipeline.records import Answer, Score, Thought, Transfer, Turn, Usage

TEAM = MethodBegins(method="latent_mas", graph="duo", roles=("planner", "solver"))


def held(positions):
    return Held(positions=positions, nbytes=1000 * positions)


def reads(role, **changes):
    told = {"latent_steps": None, "memory_of": (), "texts_of": (), "inherited": 0, "prompt": 9, "held": held(9)}
    return AgentReads(role=role, **{**told, **changes})


def ends(role="solver", finish="stop", positions=40):
    return AgentEnds(role=role, finish=finish, output_tokens=7, seconds=1.5, held=held(positions))


def thought(step, token=" the"):
    return Thought(
        step=step,
        tokens=(token, " a", " of", " x"),
        probabilities=(0.5, 0.25, 0.1, 0.05),
        norm=12.345,
        nearest=" so",
        cosine=0.412,
    )


def outcome(prediction="42", *, lenient="", method="single", graded=False, kind="number", **score):
    usage = Usage(output_tokens=3, latent_steps=4, prefill_tokens=5)
    moved = (Transfer(transport="in_place", bytes=2_500_000, seconds=0.0),)
    turn = Turn(role="solver", text="t", finish="stop", usage=usage, seconds=1.0, transfers=moved)
    told = {"correct": False, "correct_lenient": False, "reason": "no_answer", **score}
    return Outcome(
        method=method,
        kind=kind,
        answer=Answer(question_id="q", turns=(turn,)),
        score=Score(prediction=prediction, prediction_lenient=lenient or prediction, **told),
        graded=graded,
        seconds=1.25,
    )


def shown(*events, live=False, **console):
    """What a terminal, or a file, gets of some events."""
    out = Console(file=io.StringIO(), force_terminal=live, width=200, **console)
    show = Show(live=live)
    for event in events:
        for line in show.lines(event):
            out.print(line, end=line.end, soft_wrap=True)
    return out.file.getvalue()


def test_an_agent_is_announced_with_what_it_does_and_whose_work_it_reads():
    lines = shown(
        TEAM,
        reads("planner", latent_steps=3),
        reads("solver", memory_of=("planner",), texts_of=("critic", "refiner"), inherited=12),
    ).splitlines()
    assert lines[1] == "━━ LatentMAS, duo: planner → solver ━━"
    assert lines[2] == "▶ 1/2 planner  thinks 3 latent steps, reads the question alone"
    assert lines[4] == "▶ 2/2 solver  writes, reads the memory of planner and the text of critic, refiner"
    assert lines[5] == f"{MARGIN}prompt: 9 tokens on top of 12 positions of memory"


def test_a_latent_step_is_a_line_of_its_nearest_tokens():
    line = shown(TEAM, reads("planner"), StepTaken(thought=thought(2), of=10)).splitlines()[-1]
    told = 'step  3  " the" 0.50 · " a" 0.25 · " of" 0.10  nearest " so" (cos 0.41)  |h| 12.3'
    assert line == MARGIN + told


@pytest.mark.parametrize(
    ("of", "numbers"),
    [
        (1, [1]),
        (20, list(range(1, 21))),
        (21, [*range(1, 9), 0, *range(18, 22)]),
        (80, [*range(1, 9), 0, *range(77, 81)]),
    ],
)
def test_of_many_latent_steps_the_first_and_the_last_are_shown(of, numbers):
    steps = [StepTaken(thought=thought(step), of=of) for step in range(of)]
    lines = shown(TEAM, reads("planner"), *steps).splitlines()[4:]
    assert [0 if "..." in line else int(line.split()[2]) for line in lines] == numbers


WORDS = st.lists(
    st.sampled_from(["one ", "two\n", "\n", "three", "  ", "\n\n", "汉字", "[bold]x[/bold]", ":smile:", "\\"])
)


@given(WORDS, st.booleans())
def test_all_of_a_text_is_shown_but_for_the_emptiness_around_it(words, live):
    out = shown(TEAM, reads("solver"), *[TextWritten(text=word) for word in words], ends(), live=live, no_color=True)
    plain = "\n".join(line.partition("│ ")[2] for line in _without_styles(out).splitlines()[4:-2])
    assert [line.rstrip() for line in plain.splitlines()] == [
        line.rstrip() for line in "".join(words).strip().splitlines()
    ]


def _without_styles(text):
    return text.replace("\x1b[2m", "").replace("\x1b[1m", "").replace("\x1b[0m", "")


def test_in_a_terminal_words_appear_as_they_are_written():
    before = [TEAM, reads("solver"), TextWritten(text="one ")]
    assert shown(*before, live=True).endswith("one")
    assert shown(*before, TextWritten(text="two"), live=True).endswith("one two")
    assert not shown(*before).endswith("one\n")
    assert shown(*before, TextWritten(text="two\nthree")).endswith(f"{MARGIN}one two\n")


def test_memory_is_told_in_positions_and_megabytes_and_its_bar_grows():
    assert f"{MARGIN}memory 412 positions, 0.4 MB\n" in shown(TEAM, reads("solver"), ends(positions=412))
    bars = [shown(TEAM, reads("solver"), ends(positions=size), live=True).count("█") for size in (1, 64, 412, 9000)]
    assert bars == [0, 2, 12, 39]


def test_how_a_turn_ended_is_told():
    lines = shown(TEAM, reads("solver"), ends(finish="length")).splitlines()
    assert lines[-2] == f"{MARGIN}cut off at its budget: 7 tokens, 1.5 s"
    assert f"{MARGIN}done: 1.5 s" in shown(TEAM, reads("planner"), ends("planner", "latent"))
    assert "solver has no turn" in shown(TEAM, AgentLeftOut(role="solver"))


@given(st.text())
def test_nothing_that_a_terminal_obeys_is_left_of_a_text(text):
    left = harmless(text)
    assert left.isprintable() or all(c == "\n" or ord(c) >= 0xA0 for c in left if not c.isprintable())
    assert harmless(left) == left


@pytest.mark.parametrize("evil", ["\x1b[2J", "\x1b]0;title\x07", "\x9b31m", "a\rb", "\u202eabc", "\x08\x08"])
def test_hostile_text_and_tokens_reach_no_terminal(evil):
    out = shown(
        TEAM,
        reads("solver"),
        TextWritten(text=evil + "\n"),
        StepTaken(thought=thought(0, token=evil), of=1),
        ends(),
        outcome(evil),
    )
    assert not set(out) & set("\x1b\x07\x9b\r\u202e\x08")
    assert not set(answers([outcome(evil)])) & set("\x1b\x07\x9b\r\u202e\x08")


def test_without_colours_none_are_written(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[3" not in shown(TEAM, reads("planner"), live=True)
    monkeypatch.delenv("NO_COLOR")
    assert "\x1b[1;3" in shown(TEAM, reads("planner"), live=True, color_system="standard")


def test_an_answer_is_told_with_a_verdict_only_where_there_is_a_gold():
    assert shown(outcome()) == "Single answers: 42\n"
    assert shown(outcome(graded=True, correct=True)) == "Single answers: 42 (right)\n"
    assert shown(outcome(graded=True, reason="wrong")) == "Single answers: 42 (wrong)\n"
    assert shown(outcome("", lenient="4", graded=True, correct_lenient=True)).endswith("4 (right if read leniently)\n")
    assert shown(outcome("")) == "Single answers: nothing\n"
    assert shown(outcome("a\nb", kind="code")) == "Single answers: a program of 2 lines\n"


def test_the_table_has_a_row_a_method():
    out = Console(file=io.StringIO(), width=140)
    out.print(table([outcome("[red]1"), outcome("", lenient="2", method="latent_mas")]))
    rows = [line.split() for line in out.file.getvalue().splitlines()]
    assert ["Single", "[red]1", "strictly", "1.2", "3", "4", "5", "2.5"] in rows
    assert ["LatentMAS", "2", "leniently", "1.2", "3", "4", "5", "2.5"] in rows
    assert "verdict" not in out.file.getvalue()


def test_the_answers_alone_are_a_line_a_method_and_programs_stay_whole():
    assert answers([outcome("4\n2"), outcome("", method="text_mas")]) == "single\t4 2\ntext_mas\t\n"
    assert answers([outcome("def f():\n    pass", kind="code")]) == "# single\ndef f():\n    pass\n"
