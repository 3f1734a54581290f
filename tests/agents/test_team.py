"""Teams: what is kept of one for the next on the same model."""

import torch

from pipeline.agents.team import Alignments, build_team
from pipeline.config import RunConfig
from pipeline.engine import build_alignment
from pipeline.graphs import plan_for


def test_the_next_team_gets_the_same_alignment_and_another_one_where_it_asks_for_it(llama):
    kept = Alignments(llama)
    first = kept.get("ridge", 0)
    assert kept.get("ridge", 0) is first
    assert kept.get("ridge", 1) is first  # only the random one depends on the seed
    other, again = kept.get("random", 1), kept.get("random", 2)
    assert not torch.equal(other.matrix_DD, again.matrix_DD)
    fresh = build_alignment("ridge", input_VD=llama.input_vectors(), output_VD=llama.output_vectors())
    assert torch.equal(kept.get("ridge", 0).matrix_DD, fresh.matrix_DD)


def test_teams_of_several_runs_on_one_model_think_with_the_alignment_of_their_own_run(llama):
    kept = Alignments(llama)
    configs = [RunConfig.from_flat({"alignment": name}) for name in ("ridge", "ridge", "identity")]
    teams = [build_team(llama, config, plan_for(config.collaboration), alignments=kept) for config in configs]
    used = [team["planner"].conduct.alignment for team in teams]
    assert used[0] is used[1]
    assert [alignment.name for alignment in used] == ["ridge", "ridge", "identity"]
