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
        self.reading, self.steps, self.tokens, self.ended = [], [], {}, []

    def reads(self, scene):
        self.reading.append((scene.role, [len(prompt) for prompt in scene.prompts]))

    def thinks(self, scene, step, hidden_BD, embeds_BD):
        self.steps.append((scene.role, step, hidden_BD.shape))
        lengths_B = embeds_BD.norm(dim=-1)
        assert torch.allclose(lengths_B, lengths_B[0].expand_as(lengths_B), rtol=1e-4)  # all have the mean norm

    def writes(self, scene, row, token_id):
        self.tokens.setdefault((scene.role, row), []).append(token_id)

    def ends(self, scene, deeds):
        self.ended.append((scene.role, [deed.text for deed in deeds]))


def test_an_observer_sees_prompts_steps_and_tokens_as_they_are_booked(llama):
    config = RunConfig.from_flat({"latent_steps": 2, "max_new_tokens": 6, "temperature": 1.0})
    diary = Diary()
    before, llama.stop_ids = (
        llama.stop_ids,
        frozenset(range(0, len(llama.tokenizer), 7)),
    )  # so that texts end one by one
    try:
        answers = answer_batch(ASKED, build_team(llama, config, plan_for(config.collaboration), observer=diary))
        unseen = answer_batch(ASKED, build_team(llama, config, plan_for(config.collaboration)))
    finally:
        llama.stop_ids = before
    roles = ["planner", "critic", "refiner", "solver"]
    assert [role for role, _ in diary.reading] == [role for role, _ in diary.ended] == roles
    for place, (_, lengths) in enumerate(diary.reading):
        assert lengths == [answer.turns[place].usage.prefill_tokens for answer in answers]
    shape = torch.Size([3, SIZES["hidden_size"]])
    assert diary.steps == [(role, step, shape) for role in roles[:3] for step in range(2)]
    counts = {row: len(ids) for (_, row), ids in diary.tokens.items()}
    assert counts == {row: answer.usage.output_tokens for row, answer in enumerate(answers)}
    assert diary.ended[-1][1] == [answer.text for answer in answers] == [answer.text for answer in unseen]
