"""Observers: what they see is what the records tell."""

import torch

from pipeline.agents.observing import Observer
from pipeline.agents.team import build_team
from pipeline.agents.walk import answer_batch
from pipeline.config import RunConfig
from pipeline.graphs import plan_for
from pipeline.records import Assignment, Question
from tiny import SIZES

QUESTIONS = [Question(id=f"q{i}", text="How many? " * (1 + i), kind="number", gold="1") for i in range(3)]
ASKED = [Assignment(question=question, source=question) for question in QUESTIONS]


class Diary(Observer):
    def __init__(self):
        self.seen, self.norms = {question.id: [] for question in QUESTIONS}, []

    def note(self, scene, *what):
        self.seen[scene.request.question.id].append((scene.role, *what))

    def reads(self, scene):
        self.note(scene, "reads", len(scene.prompt))

    def thinks(self, scene, step, hidden_D, embeds_D):
        self.note(scene, "thinks", step, hidden_D.shape)
        self.norms.append(embeds_D.norm())

    def writes(self, scene, token_id):
        self.note(scene, "writes", token_id)

    def ends(self, scene, deed):
        self.note(scene, "ends", deed.text)


def test_an_observer_sees_prompts_steps_and_tokens_as_they_are_booked(llama):
    config = RunConfig.from_flat({"latent_steps": 2, "max_new_tokens": 6, "temperature": 1.0})
    diary = Diary()
    before, llama.stop_ids = (
        llama.stop_ids,
        frozenset(range(0, len(llama.tokenizer), 3)),
    )  # so that texts end one by one
    try:
        answers = answer_batch(ASKED, build_team(llama, config, plan_for(config.collaboration), observer=diary))
        unseen = answer_batch(ASKED, build_team(llama, config, plan_for(config.collaboration)))
    finally:
        llama.stop_ids = before
    shape = torch.Size([SIZES["hidden_size"]])
    for answer in answers:
        expected = []
        for turn in answer.turns[:-1]:
            expected.append((turn.role, "reads", turn.usage.prefill_tokens))
            expected += [(turn.role, "thinks", step, shape) for step in range(2)]
            expected.append((turn.role, "ends", ""))
        seen, solver = diary.seen[answer.question_id], answer.turns[-1]
        assert seen[: len(expected)] == expected
        first, *written, last = seen[len(expected) :]
        assert (first, last) == (("solver", "reads", solver.usage.prefill_tokens), ("solver", "ends", solver.text))
        assert {(role, what) for role, what, _ in written} == {("solver", "writes")}
        assert len(written) == solver.usage.output_tokens
        text = llama.tokenizer.decode([token for *_, token in written], skip_special_tokens=True)
        assert text.strip() == solver.text
    assert len({answer.usage.output_tokens for answer in answers}) > 1  # texts ended one by one
    norms = torch.stack(diary.norms)
    assert torch.allclose(norms, norms[0].expand_as(norms), rtol=1e-4)  # every input has the mean norm
    assert [answer.text for answer in answers] == [answer.text for answer in unseen]
