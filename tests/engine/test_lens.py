import pytest
import torch

from pipeline.agents.team import build_team
from pipeline.agents.walk import answer_batch
from pipeline.config import RunConfig
from pipeline.graphs import plan_for
from pipeline.records import Question
from pipeline.runtime.assigning import assign

QUESTIONS = [Question(id=f"q{i}", text=f"{i}+1?", kind="number", gold="1") for i in range(3)]


def run(lm, trace, **settings):
    config = RunConfig.from_flat({"max_new_tokens": 3, "latent_steps": 4, "temperature": 0, **settings})
    team = build_team(lm, config, plan_for(config.collaboration))
    return team, answer_batch(assign(QUESTIONS, memory="real", seed=0, trace=trace), team)


def test_only_the_first_questions_latent_steps_are_recorded(lm):
    _, answers = run(lm, trace=2)
    counts = [[len(turn.thoughts) for turn in answer.turns] for answer in answers]
    assert counts == [[4, 4, 4, 0], [4, 4, 4, 0], [0, 0, 0, 0]]
    assert [thought.step for thought in answers[0].turns[0].thoughts] == [0, 1, 2, 3]


def test_watching_changes_no_answer(lm):
    assert [a.text for a in run(lm, trace=3)[1]] == [a.text for a in run(lm, trace=0)[1]]


def test_a_thought_shows_the_heads_tokens_and_the_nearest_embedding(lm):
    team, answers = run(lm, trace=1)
    thought = answers[0].turns[0].thoughts[0]
    # The first thought comes from the prompt's last hidden state: compare with the model's own output for the prompt.
    from pipeline.agents.walk import collect

    prompt = team["planner"].prompt(
        collect(assign(QUESTIONS[:1], memory="real", seed=0, trace=0)[0], team["planner"], [])
    )
    with torch.inference_mode():
        out = lm.causal_lm(input_ids=torch.tensor([prompt]), output_hidden_states=True)
    probabilities, ids = out.logits[0, -1].softmax(-1).topk(5)
    assert list(thought.tokens) == [lm.tokenizer.decode([i]) for i in ids.tolist()]
    assert list(thought.probabilities) == pytest.approx(probabilities.tolist(), rel=1e-3)
    hidden = out.hidden_states[-1][0, -1]
    assert thought.norm == pytest.approx(float(hidden.norm()), rel=1e-4)
    latent = team["planner"].conduct.alignment(hidden[None])[0]
    cosines = torch.nn.functional.cosine_similarity(latent[None], lm.input_vectors())
    assert thought.cosine == pytest.approx(float(cosines.max()), abs=1e-4)
    assert thought.nearest == lm.tokenizer.decode([int(cosines.argmax())])
