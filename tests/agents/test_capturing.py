"""What is captured of latent steps is what the model was fed."""

import numpy as np
import pytest
import torch

from pipeline.agents.capturing import nearest_cosines, think_aloud, token_vectors
from pipeline.agents.team import build_team
from pipeline.agents.walk import walk
from pipeline.config import RunConfig
from pipeline.graphs import plan_for
from pipeline.records import Assignment, Question
from tiny import tiny_model

QUESTIONS = [Question(id=f"q{i}", text="How many? " * (1 + i), kind="number", gold="1") for i in range(3)]


def settings(**more):
    config = RunConfig.from_flat({"latent_steps": 2, "batch_size": 2, **more})
    return config, plan_for(config.collaboration)


@pytest.mark.parametrize("graph", ["sequential", "hierarchical"])
def test_what_is_captured_is_what_was_fed(family_lm, graph):
    config, plan = settings(graph=graph)
    thoughts = think_aloud(family_lm, config, plan, QUESTIONS)
    team = build_team(family_lm, config, plan, keep_inputs=True)
    asked = [Assignment(question=question, source=question) for question in QUESTIONS]
    work = walk(asked, team, list(plan.thinkers), keep=plan.thinkers)
    where = list(zip(thoughts.roles, thoughts.questions, thoughts.steps, strict=True))
    assert len(where) == len(set(where)) == 3 * 3 * 2  # agents, questions, steps
    for role, results in work.items():
        for question, result in zip(QUESTIONS, results, strict=True):
            inputs = result.segment.inputs
            rows = [where.index((role, question.id, step)) for step in range(2)]
            # what is recorded for the model is what it still scales itself
            fed_MD = inputs.latents_MD * family_lm.input_scale
            np.testing.assert_allclose(thoughts.fed_ND[rows], fed_MD.numpy(), atol=1e-4)
            last = token_vectors(family_lm, [int(inputs.token_ids[-1])])[0]
            np.testing.assert_array_equal(thoughts.before_ND[rows[0]], last)
            np.testing.assert_array_equal(thoughts.before_ND[rows[1]], thoughts.fed_ND[rows[0]])
            assert set(inputs.token_ids.tolist()) <= set(thoughts.prompt_ids)


def test_hidden_states_lead_to_what_is_fed(lm):
    config, plan = settings(alignment="identity")
    thoughts = think_aloud(lm, config, plan, QUESTIONS)
    norm = float(lm.input_vectors().norm(dim=-1).mean())
    lengths = np.linalg.norm(thoughts.hidden_ND, axis=1, keepdims=True)
    np.testing.assert_allclose(thoughts.fed_ND, thoughts.hidden_ND * norm / lengths, rtol=1e-4, atol=1e-6)


def test_nobody_writes_and_progress_is_told(llama, monkeypatch):
    monkeypatch.setattr(type(llama), "logits", lambda *_: pytest.fail("an agent wrote, or a lens looked"))
    told = []
    think_aloud(llama, *settings(), QUESTIONS, progress=told.append)
    assert told == [2, 3]


def test_token_vectors_are_what_enters_the_first_layer(family_lm):
    expected = family_lm.input_vectors()[[3, 5]]
    np.testing.assert_allclose(token_vectors(family_lm, [3, 5]), expected.numpy())


def test_a_scale_inside_the_model_is_put_on_what_is_captured():
    model, twice = tiny_model("llama"), tiny_model("llama")
    twice.input_scale = 2.0
    plain, scaled = (think_aloud(lm, *settings(alignment="identity"), QUESTIONS[:1]) for lm in (model, twice))
    np.testing.assert_allclose(scaled.before_ND[0], 2 * plain.before_ND[0])
    np.testing.assert_allclose(np.linalg.norm(scaled.fed_ND[0]), 2 * np.linalg.norm(plain.fed_ND[0]), rtol=1e-5)


def test_a_token_is_nearest_to_itself_unless_it_has_to_find_another(llama):
    vectors = token_vectors(llama, [3, 5, 8])
    np.testing.assert_allclose(nearest_cosines(llama, 7 * vectors), 1, rtol=1e-5)
    directions = torch.nn.functional.normalize(llama.input_vectors(), dim=-1)
    others = directions[[3, 5, 8]] @ directions.T
    others[range(3), [3, 5, 8]] = -1
    np.testing.assert_allclose(
        nearest_cosines(llama, vectors, but_itself=True), others.max(dim=-1).values.numpy(), rtol=1e-4
    )
