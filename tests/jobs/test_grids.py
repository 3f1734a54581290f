"""jobs/grids.py: which cells a grid has, what they are called, and which of them would be the same run."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.grids import expanded
from pipeline.config import RunConfig

BASE = RunConfig().flat()


def cells(grid, cells=(), **base):
    return expanded(list(cells), grid, {**BASE, **base}).cells


def names(grid, listed=(), **base):
    return [cell.name for cell in cells(grid, listed, **base)]


def test_a_grid_is_every_combination_in_order_and_names_tell_what_differs():
    found = cells({"graph": ["sequential", "hierarchical"], "latent_steps": [10, 20]})
    assert [cell.name for cell in found] == ["sequential-m10", "sequential-m20", "hierarchical-m10", "hierarchical-m20"]
    assert found[3].settings == {"graph": "hierarchical", "latent_steps": 20}


def test_every_cell_is_run_at_every_point_of_the_grid():
    found = cells({"seed": [0, 1]}, [{"name": "real"}, {"memory": "none"}])
    assert [cell.name for cell in found] == ["real-seed0", "real-seed1", "none-seed0", "none-seed1"]
    assert found[2].settings == {"memory": "none", "seed": 0}


def test_points_that_are_the_same_run_are_one_cell_named_by_what_has_an_effect():
    grid = {
        "method": ["single", "text_mas", "latent_mas"],
        "graph": ["sequential", "hierarchical"],
        "latent_steps": [0, 10],
        "memory": ["real", "shuffled"],
        "alignment": ["ridge", "random"],
    }
    found = expanded([], grid, BASE)
    assert found.points == 48
    assert [cell.name for cell in found.cells if "latent" not in cell.name] == [
        "single",
        "text_mas-sequential-real",
        "text_mas-sequential-shuffled",
        "text_mas-hierarchical-real",
        "text_mas-hierarchical-shuffled",
    ]
    latent = [cell.name.removeprefix("latent_mas-sequential-") for cell in found.cells if "mas-seq" in cell.name][2:]
    ten = ["m10-real-ridge", "m10-real-random", "m10-shuffled-ridge", "m10-shuffled-random"]
    assert latent == ["m0-real", "m0-shuffled", *ten]
    assert "17 of the grid's 48 points" in found.told


def test_a_value_that_is_given_twice_counts_once():
    found = expanded([], {"seed": [0, 1, 0], "chat_options": [{}, {}]}, BASE)
    assert (found.points, found.told) == (2, "")
    assert [cell.name for cell in found.cells] == [cell.name for cell in cells({"seed": [0, 1], "chat_options": [{}]})]


def test_experts_have_an_effect_only_where_a_graph_has_some():
    grid = {"graph": ["sequential", "hierarchical"], "experts": ["parallel", "chained"]}
    assert names(grid) == ["sequential", "hierarchical-parallel", "hierarchical-chained"]


def test_latent_steps_have_no_effect_where_a_graph_says_them_all(tmp_path):
    graph = tmp_path / "own.yaml"
    graph.write_text("roles: [{name: planner, latent_steps: 2}, {name: solver, reads: [planner], answers: true}]")
    assert names({"latent_steps": [0, 10]}, graph=str(graph)) == ["base"]


def test_a_shared_setting_goes_back_to_its_default_in_cells_on_which_it_has_no_effect():
    found = cells({"method": ["single", "latent_mas"]}, memory="shuffled", latent_steps=20)
    assert found[0].settings == {"method": "single", "memory": "real", "latent_steps": 10}
    assert found[1].settings == {"method": "latent_mas"}


def test_a_control_that_a_cell_itself_sets_stays():
    (cell,) = cells({"seed": [1]}, [{"method": "single", "memory": "shuffled"}])
    assert cell.settings == {"method": "single", "memory": "shuffled", "seed": 1}


def test_cells_that_are_listed_are_run_as_they_are():
    listed = [{"name": "a", "method": "single", "latent_steps": 3}, {"name": "b", "method": "single"}]
    assert [cell.settings for cell in cells({}, listed)] == [
        {k: v for k, v in c.items() if k != "name"} for c in listed
    ]


def test_values_that_cant_be_are_left_to_be_refused():
    assert names({"method": ["singel", "single"]}) == ["singel", "single"]
    assert names({"latent_steps": ["ten", 3]}) == ["mten", "m3"]


def test_a_graph_that_is_not_there_is_refused_with_every_method():
    with pytest.raises(ValueError, match="--graph 'circle' is unknown"):
        names({"graph": ["sequential", "circle"]}, method="single")


SOME = {
    "method": st.sampled_from(["single", "text_mas", "latent_mas"]),
    "graph": st.sampled_from(["sequential", "hierarchical"]),
    "experts": st.sampled_from(["parallel", "chained"]),
    "latent_steps": st.integers(0, 3),
    "alignment": st.sampled_from(["ridge", "identity", "random"]),
    "memory": st.sampled_from(["real", "shuffled", "none"]),
    "seed": st.integers(0, 2),
}


@settings(deadline=None, max_examples=30)
@given(st.fixed_dictionaries({}, optional={name: st.lists(one, min_size=1, max_size=2) for name, one in SOME.items()}))
def test_cells_of_any_grid_can_be_and_have_names_and_settings_of_their_own(grid):
    if not grid:
        return
    found = expanded([], grid, BASE)
    assert len({cell.name for cell in found.cells}) == len(found.cells) <= found.points
    configs = [RunConfig.from_flat({**BASE, **cell.settings}) for cell in found.cells]
    assert all(config not in configs[:place] for place, config in enumerate(configs))
