"""Placement: which replicas a run has, who plays what on them, and what each gets of the cluster."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import ExecutionConfig, ModelConfig
from pipeline.runtime.placement import Capacity, Resources, apportion, bundles, resources, seats, split_roles

ROLES = ("planner", "critic", "refiner", "solver")
EIGHT_GPUS, LAPTOP = Capacity(gpus=8, cpus=64), Capacity(gpus=0, cpus=4)
ALIKE = dict.fromkeys(ROLES, "m")


def seated(placement, replicas, capacity=LAPTOP, *, checkpoints=None, roles=ROLES, **execution):
    """The roles of each replica."""
    config = ExecutionConfig(placement=placement, replicas=replicas, **execution)
    model = ModelConfig(model="m", roles={role: {"model": name} for role, name in (checkpoints or {}).items()})
    return seats(roles, config, model, capacity)


def cast(placement, replicas, capacity=LAPTOP, **more):
    return [seat.roles for seat in seated(placement, replicas, capacity, **more)[0]]


@pytest.mark.parametrize(
    ("replicas", "capacity", "gpus", "count"),
    [
        (3, LAPTOP, None, 3),
        ("3", LAPTOP, None, 3),
        ("auto", LAPTOP, None, 1),
        ("auto", Capacity(gpus=0, cpus=64, nodes=5), None, 5),
        ("auto", EIGHT_GPUS, None, 8),
        ("auto", EIGHT_GPUS, 2, 4),
        ("auto", EIGHT_GPUS, 0.25, 32),
        ("auto", EIGHT_GPUS, 0.3, 24),  # three a GPU, none across two
        ("auto", EIGHT_GPUS, 0, 1),
    ],
)
def test_colocated_replicas_all_play_all_roles(replicas, capacity, gpus, count):
    assert cast("colocated", replicas, capacity, gpus_per_replica=gpus) == [ROLES] * count


@pytest.mark.parametrize(
    ("replicas", "capacity", "numbers"),
    [
        (4, LAPTOP, [1, 1, 1, 1]),
        (6, LAPTOP, [2, 2, 1, 1]),
        ("auto", LAPTOP, [1, 1, 1, 1]),
        ("auto", Capacity(gpus=0, cpus=64), [1, 1, 1, 1]),
        ("auto", EIGHT_GPUS, [2, 2, 2, 2]),
        ("planner=1,critic=2,refiner=1,solver=3", LAPTOP, [1, 2, 1, 3]),
        ("solver=3,refiner=1,critic=2,planner=1", LAPTOP, [1, 2, 1, 3]),
    ],
)
def test_spread_replicas_play_a_role_each(replicas, capacity, numbers):
    expected = [(role,) for role, number in zip(ROLES, numbers, strict=True) for _ in range(number)]
    assert cast("spread", replicas, capacity) == expected


@pytest.mark.parametrize(
    ("replicas", "expected"),
    [(1, [ROLES]), (2, [ROLES[:2], ROLES[2:]]), (3, [ROLES[:1], ROLES[1:2], ROLES[2:]])],
)
def test_with_fewer_replicas_than_roles_neighbours_share_one(replicas, expected):
    assert sorted(map(len, cast("spread", replicas))) == sorted(map(len, expected))
    assert [role for roles in cast("spread", replicas) for role in roles] == list(ROLES)


def test_roles_are_split_anew_by_their_time_only_where_the_numbers_were_left_open():
    assert seated("spread", "auto")[1]
    assert not seated("spread", 4)[1]
    assert not seated("spread", "planner=1,critic=1,refiner=1,solver=1")[1]
    assert not seated("colocated", "auto")[1]


def test_replicas_are_named_in_order_and_know_their_checkpoint():
    made, _ = seated("spread", 4, checkpoints={"solver": "large"})
    assert [(seat.name, seat.model) for seat in made] == [("r0", "m"), ("r1", "m"), ("r2", "m"), ("r3", "large")]


def test_roles_with_different_checkpoints_share_no_replica():
    assert cast("spread", 2, checkpoints={"solver": "large"}) == [ROLES[:3], ROLES[3:]]
    assert cast("spread", 2, checkpoints={"planner": "large"}) == [ROLES[:1], ROLES[1:]]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            {"placement": "spread", "replicas": "planner=1,solver=2"},
            "--replicas is 'planner=1,solver=2'; allowed: a number for each of planner, critic, refiner, solver",
        ),
        (
            {"placement": "spread", "replicas": 1, "checkpoints": {"solver": "large"}},
            "--replicas is 1; allowed: more, as neighbouring roles with different checkpoints can't share one",
        ),
        (
            {"placement": "spread", "replicas": "auto", "checkpoints": {"solver": "large"}},
            "--replicas is 'auto'; allowed: numbers, where roles have checkpoints of their own",
        ),
        (
            {"placement": "colocated", "replicas": 2, "checkpoints": {"solver": "large"}},
            r"--roles is .*large.*; allowed: no checkpoints of their own, with --placement colocated",
        ),
        (
            {"placement": "spread", "replicas": 4, "checkpoints": {"poet": "large"}},
            r"--roles is \['poet'\]; allowed: planner, critic, refiner, solver, the roles of this run",
        ),
    ],
)
def test_numbers_that_do_not_fit_the_roles_are_refused_in_one_line(arguments, words):
    with pytest.raises(ValueError, match=words) as caught:
        seated(**arguments)
    assert "\n" not in str(caught.value)


weights = st.lists(st.floats(0.01, 100), min_size=1, max_size=6)


@given(weights=weights, more=st.integers(0, 30))
def test_no_replica_would_be_better_placed_with_another_role(weights, more):
    numbers = apportion(weights, len(weights) + more)
    assert sum(numbers) == len(weights) + more
    assert min(numbers) >= 1
    slowest = max(map(float.__truediv__, weights, map(float, numbers)))
    for giver, taker in combinations(range(len(weights)), 2):
        for one, other in ((giver, taker), (taker, giver)):
            if numbers[one] > 1:
                moved = [n - (i == one) + (i == other) for i, n in enumerate(numbers)]
                assert max(w / n for w, n in zip(weights, moved, strict=True)) >= slowest


@given(seconds=st.lists(st.floats(0, 100), min_size=4, max_size=4), count=st.integers(1, 3))
def test_neighbours_share_so_that_the_slowest_replica_has_least_to_do(seconds, count):
    took = dict(zip(ROLES, seconds, strict=True))
    split = split_roles(ROLES, count, took, ALIKE)
    assert len(split) == count
    assert tuple(role for roles in split for role in roles) == ROLES
    slowest = max(sum(took[role] for role in roles) for roles in split)
    for cuts in combinations((1, 2, 3), count - 1):
        edges = (0, *cuts, 4)
        parts = [seconds[begin:end] for begin, end in zip(edges, edges[1:], strict=False)]
        assert slowest <= max(map(sum, parts)) + 1e-9


def test_a_role_that_takes_most_of_the_time_gets_most_of_the_replicas():
    split = split_roles(ROLES, 8, {"planner": 1, "critic": 1, "refiner": 1, "solver": 10}, ALIKE)
    assert [roles[0] for roles in split].count("solver") == 5


@pytest.mark.parametrize(
    ("count", "gpus", "capacity", "expected"),
    [
        (4, None, EIGHT_GPUS, Resources(gpus=1, cpus=1, threads=16)),
        (4, 2, EIGHT_GPUS, Resources(gpus=2, cpus=1, threads=16)),
        (32, 0.25, EIGHT_GPUS, Resources(gpus=0.25, cpus=1, threads=2)),
        (2, None, LAPTOP, Resources(gpus=0, cpus=1, threads=2)),
        (4, None, LAPTOP, Resources(gpus=0, cpus=0.5, threads=1)),
        (2, 0, EIGHT_GPUS, Resources(gpus=0, cpus=1, threads=32)),
        (8, None, Capacity(gpus=8, cpus=1), Resources(gpus=1, cpus=0.01, threads=1)),
    ],
)
def test_a_replica_gets_a_gpu_where_there_are_any_and_its_share_of_the_cpus(count, gpus, capacity, expected):
    assert resources(count, ExecutionConfig(gpus_per_replica=gpus), capacity) == expected


@pytest.mark.parametrize(
    ("capacity", "words"),
    [
        (EIGHT_GPUS, "--replicas is 9; allowed: at most 8, the number of GPUs in the cluster"),
        (LAPTOP, "--replicas is 9; allowed: at most 4, the number of CPUs in the cluster"),
    ],
)
def test_more_replicas_than_the_cluster_holds_are_refused_with_the_number_that_it_does(capacity, words):
    with pytest.raises(ValueError, match=words):
        resources(9, ExecutionConfig(), capacity)


def test_gpus_that_were_asked_for_by_hand_may_be_yet_to_come():
    assert resources(16, ExecutionConfig(gpus_per_replica=1), EIGHT_GPUS).gpus == 1


def test_replicas_with_a_fraction_of_a_gpu_share_the_bundle_of_a_whole_one():
    parts, indices = bundles(6, Resources(gpus=0.25, cpus=0.5, threads=1))
    assert parts == [{"CPU": 2.0, "GPU": 1.0}] * 2
    assert indices == [0, 0, 0, 0, 1, 1]


def test_replicas_with_whole_gpus_or_none_have_a_bundle_each():
    assert bundles(2, Resources(gpus=2, cpus=1, threads=1)) == ([{"CPU": 1, "GPU": 2}] * 2, [0, 1])
    assert bundles(2, Resources(gpus=0, cpus=0.5, threads=1)) == ([{"CPU": 0.5}] * 2, [0, 1])


@given(count=st.integers(1, 40), cpus=st.integers(1, 200), gpus=st.floats(0.01, 1))
def test_replicas_fit_their_bundle_as_ray_counts(count, cpus, gpus):
    """Ray rounds every amount to ten thousandths, so thirds and sevenths may add up to more than their bundle has."""
    share = resources(count, ExecutionConfig(gpus_per_replica=gpus), Capacity(gpus=40, cpus=cpus))
    parts, indices = bundles(count, share)
    assert len(indices) == count
    for index, part in enumerate(parts):
        for name, one in (("CPU", share.cpus), ("GPU", share.gpus)):
            assert indices.count(index) * round(one * 10_000) <= round(part[name] * 10_000)
