"""Golden files are the prompts as the models see them; `python tests/prompts/test_prompts.py` writes them anew."""

import re
from pathlib import Path

import pytest

from pipeline.agents.conduct import TurnResult
from pipeline.agents.team import build_team
from pipeline.agents.walk import collect
from pipeline.config import RunConfig
from pipeline.engine import chat_text
from pipeline.graphs import load_graph, plan_for
from pipeline.prompts import Message, Note, known_roles, role_messages, role_prompt
from pipeline.records import Assignment, Question, Turn, Usage
from tiny import character_tokenizer, tiny_model

GOLDEN = Path(__file__).parent / "golden"
QUESTIONS = {
    "number": Question(id="n", text="What is 2 + 3?", kind="number", gold="5"),
    "choice": Question(
        id="c", text="Which is a fruit?\n\nA. stone\nB. apple", kind="choice", gold="B", labels=("A", "B")
    ),
    "code": Question(
        id="p", text="Complete this function:\n\ndef one() -> int:\n", kind="code", gold="def one(): return 1"
    ),
}
CHANNELS = ("text", "latent")
SEQUENTIAL, HIERARCHICAL = load_graph("sequential"), load_graph("hierarchical")
GRAPHS = {role.name: graph for graph in (SEQUENTIAL, HIERARCHICAL) for role in graph.roles}
CASES = [(channel, role, kind) for channel in CHANNELS for role in GRAPHS for kind in QUESTIONS]
CASES += [("alone", "solver", kind) for kind in QUESTIONS]


def messages(channel: str, role: str, kind: str) -> tuple[Message, ...]:
    place = next(r for r in GRAPHS[role].roles if r.name == role)
    notes = tuple(Note(role=name, text=f"({name}'s words)") for name in place.reads) if channel == "text" else ()
    remembered = place.reads if channel == "latent" else ()
    return role_messages(role_prompt(role), QUESTIONS[kind], answers=place.answers, notes=notes, remembered=remembered)


def rendered(channel: str, role: str, kind: str) -> str:
    return chat_text(character_tokenizer(), messages(channel, role, kind), {})


@pytest.mark.parametrize(("channel", "role", "kind"), CASES)
def test_prompts_are_as_reviewed(channel, role, kind):
    assert rendered(channel, role, kind) == (GOLDEN / f"{channel}-{role}-{kind}.txt").read_text("utf-8")


@pytest.mark.parametrize("kind", QUESTIONS)
def test_every_method_gets_the_same_instructions_and_answer_format(kind):
    question = QUESTIONS[kind]
    alone = role_messages(role_prompt("solver"), question, answers=True)
    added = {
        "text": [(), ("Your colleagues wrote:", "[planner]", "[critic]", "[refiner]")],
        "latent": [("You know what your colleagues thought: planner, critic, refiner.",), ()],
    }
    for channel, extra in added.items():
        for mine, theirs, new in zip(alone, messages(channel, "solver", kind), extra, strict=True):
            rest = theirs.content
            for piece in new:
                assert rest.count(piece) == 1
                rest = rest.replace(piece, "")
            rest = re.sub(r"\(\w+'s words\)", "", rest)
            assert rest.split() == mine.content.split()  # all of it, in order; only the channel is added


ASKED = {
    "number": ("its answer is a single number", "inside \\boxed{}"),
    "choice": ("the answer is its letter", "inside \\boxed{}"),
    "code": ("pass hidden tests", "starts with ```python"),
}
"""What the answering agent of every method is told of the task and of the answer's format."""
LONG = (
    """So: {x} = 3, and \\boxed{3} is not it yet.

```python
def one() -> int:
    return 1  # [critic]
```
"""
    + "Word after word, " * 400
    + "and the last one."
)


def as_agents_read_it(method: str, graph: str, kind: str) -> str:
    """The answering agent's prompt on top of what the others left behind, by the way that runs go."""
    config = RunConfig.from_flat({"method": method, "graph": graph})
    agents = build_team(tiny_model("llama", max_position_embeddings=65536), config, plan_for(config.collaboration))
    *others, last = agents.values()
    assignment = Assignment(question=QUESTIONS[kind], source=QUESTIONS[kind])
    turns = [turn_of(agent.role.name, thinks=method == "latent_mas") for agent in others]
    prompt = last.prompt(collect(assignment, last, [TurnResult(turn=turn) for turn in turns]))
    return last.lm.tokenizer.decode(prompt)


def turn_of(role: str, *, thinks: bool) -> Turn:
    text, finish = ("", "latent") if thinks else (said(role), "stop")
    return Turn(role=role, text=text, finish=finish, usage=Usage(), seconds=0)


def said(role: str) -> str:
    return f"The {role}:\n{LONG}"


@pytest.mark.parametrize("kind", QUESTIONS)
@pytest.mark.parametrize("graph", ["sequential", "hierarchical"])
def test_answering_agents_differ_in_the_channel_alone_and_read_whole_texts(graph, kind):
    """Task instructions and answer format are those of the golden prompts; what others wrote is there to the letter."""
    role = load_graph(graph).answering
    alone = (GOLDEN / f"alone-solver-{kind}.txt").read_text("utf-8")
    latent = (GOLDEN / f"latent-{role.name}-{kind}.txt").read_text("utf-8")
    memory = f" You know what your colleagues thought: {', '.join(role.reads)}."
    notes = "\n\nYour colleagues wrote:\n\n" + "\n\n".join(f"[{read}]\n{said(read)}" for read in role.reads)
    assert as_agents_read_it("single", graph, kind) == alone
    assert as_agents_read_it("latent_mas", graph, kind) == latent
    text = as_agents_read_it("text_mas", graph, kind)
    assert text.count(notes) == 1
    assert text.replace(notes, "") == latent.replace(memory, "")
    if role.name == "solver":
        assert text.replace(notes, "") == alone
    pieces = (QUESTIONS[kind].text, *ASKED[kind])
    assert all(prompt.count(piece) == 1 for piece in pieces for prompt in (alone, latent, text.replace(notes, "")))


def test_only_the_answering_agent_is_told_the_format():
    for role in known_roles():
        assert "boxed" in role_messages(role_prompt(role), QUESTIONS["number"], answers=True)[1].content
        assert "boxed" not in role_messages(role_prompt(role), QUESTIONS["number"], answers=False)[1].content


def test_braces_in_a_question_or_a_note_are_left_alone():
    question = Question(id="x", text="Let S = {1, 2}. {note}", kind="number", gold="2")
    text = role_messages(
        role_prompt("critic"), question, answers=False, notes=[Note(role="planner", text="use {S} and {0}")]
    )[1].content
    assert "Let S = {1, 2}. {note}" in text
    assert "use {S} and {0}" in text


def test_chat_options_reach_the_template():
    chat = messages("text", "planner", "number")
    assert chat_text(character_tokenizer(), chat, {"enable_thinking": False}).endswith("<think></think>")


def test_a_base_model_gets_plain_paragraphs():
    tokenizer = character_tokenizer()
    tokenizer.chat_template = None
    text = chat_text(tokenizer, messages("text", "solver", "number"), {})
    assert "<|im_start|>" not in text
    assert text.endswith("Answer:\n")


def test_a_template_without_system_messages_gets_them_in_the_users():
    tokenizer = character_tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
        "[{{ m.role }}] {{ m.content }}{% endfor %}"
    )
    text = chat_text(tokenizer, messages("text", "planner", "number"), {})
    assert text.startswith("[user] You are the planner")


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for case in CASES:
        (GOLDEN / f"{'-'.join(case)}.txt").write_text(rendered(*case), "utf-8")
