"""The router by itself, and in simulated runs: uneven replicas and stages, losses, a small store."""

import random
import subprocess
import sys

import pytest

from pipeline.runtime.placement import Seat, apportion
from pipeline.runtime.router import Post, Router
from simulator import Simulator

ROLES = ("planner", "critic", "refiner", "solver")


def router(posts, *, budget=100, models=None, nodes=None, **settings):
    """A router over replicas with these roles each."""
    models, nodes = models or dict.fromkeys(ROLES, "m"), nodes or {}
    made = {
        name: Post(roles=frozenset(roles), model=models[roles[0]], node=nodes.get(name, ""))
        for name, roles in posts.items()
    }
    return Router(made, models, budget=budget, **settings)


def started(routes, batch, roles=ROLES, nbytes=0, holders=()):
    routes.start(batch, nbytes)
    return routes.route(batch, roles, holders)


def colocated(count):
    return [Seat(name=f"r{i}", roles=ROLES, model="m") for i in range(count)]


def spread(seconds, count):
    numbers = apportion(list(seconds.values()), count)
    roles = [role for role, number in zip(seconds, numbers, strict=True) for _ in range(number)]
    return [Seat(name=f"r{i}", roles=(role,), model="m") for i, role in enumerate(roles)]


@pytest.mark.parametrize("ratio", [4, 10])
def test_64_uneven_replicas_work_at_full_speed_until_the_questions_run_out(ratio):
    seats, chance = colocated(64), random.Random(0)
    speeds = {seat.name: 1 + (ratio - 1) * i / 63 for i, seat in enumerate(seats)}
    run = Simulator(seats, lambda seat, _: chance.uniform(0.8, 1.2) / speeds[seat], [0] * 2000)
    run.run()
    done = sum(speeds[name] * machine.busy(0, run.exhausted) for name, machine in run.machines.items())
    assert done >= 0.99 * run.exhausted * sum(speeds.values())
    # What is left then is one batch in work and few that wait: the slowest replica's last batch ends the run.
    slowest = 1.2 * len(ROLES) / min(speeds.values())
    assert run.now <= run.exhausted + 2 * slowest
    assert run.now <= 2000 * len(ROLES) / sum(speeds.values()) + slowest
    assert len(run.ended) == len(set(run.ended)) == 2000


@pytest.mark.parametrize("count", [4, 7, 32])
@pytest.mark.parametrize(
    ("graph", "seconds"),
    [
        ("sequential", {"planner": 1, "critic": 2, "refiner": 3, "solver": 10}),
        ("sequential", {"planner": 10, "critic": 2, "refiner": 3, "solver": 1}),
        ("sequential", {"planner": 0.1, "critic": 0.1, "refiner": 0.1, "solver": 20}),
        ("sequential", {"planner": 3, "critic": 3, "refiner": 3, "solver": 3}),
        ("hierarchical", {"math": 3, "science": 6, "code": 2, "summarizer": 5}),
    ],
)
def test_the_slowest_stage_of_a_spread_run_is_kept_busy(graph, seconds, count):
    seats, chance = spread(seconds, count), random.Random(1)
    run = Simulator(seats, lambda _, role: seconds[role] * chance.uniform(0.7, 1.3), [0] * 400, graph=graph)
    run.run()
    loads = {role: took / sum(role in seat.roles for seat in seats) for role, took in seconds.items()}
    bottleneck = max(loads, key=loads.__getitem__)
    machines = [run.machines[seat.name] for seat in seats if bottleneck in seat.roles]
    reached = min(machine.work[0][0] for machine in machines)
    busy = sum(machine.busy(reached, run.exhausted) for machine in machines)
    assert busy >= 0.95 * len(machines) * (run.exhausted - reached)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("placement", ["colocated", "spread"])
def test_replicas_that_die_and_come_back_cost_no_batch_and_get_none_while_they_are_dead(placement, seed):
    chance, seconds = random.Random(seed), {"planner": 1, "critic": 1, "refiner": 1, "solver": 2}
    seats = colocated(8) if placement == "colocated" else spread(seconds, 8)
    run = Simulator(seats, lambda _, role: seconds[role] * chance.uniform(0.5, 1.5), [1] * 300, budget=12)
    for _ in range(40):
        name, when = chance.choice(seats).name, chance.uniform(0, 150)
        run.at(when, lambda name=name: run.lose(name))
        run.at(when + chance.uniform(0, 60), lambda name=name: run.restore(name))
    run.run()
    assert sorted(run.ended) == sorted(f"b{i}" for i in range(300))
    assert all(not used & dead for used, dead in run.routed)
    assert len(run.routed) > 300  # some were lost
    assert sum(bool(dead) for _, dead in run.routed) > 100


def test_work_goes_on_where_it_can_when_all_are_lost_and_one_comes_back():
    run = Simulator(colocated(4), lambda *_: 1.0, [0] * 50)
    for name in run.machines:
        run.at(3.5, lambda name=name: run.lose(name))
    run.at(1000, lambda: run.restore("r2"))
    run.run()
    assert len(run.ended) == 50
    assert all(used == {"r2"} for used, dead in run.routed if dead)


@pytest.mark.parametrize("seed", range(4))
def test_the_store_is_never_filled_beyond_its_budget_except_by_one_batch_alone(seed):
    chance, budget = random.Random(seed), 1000
    sizes = [chance.choice([50, 200, 400, 999, 1500]) for _ in range(300)]
    run = Simulator(
        spread(dict.fromkeys(ROLES, 1), 8),
        lambda *_: chance.uniform(0.5, 1.5),
        sizes,
        budget=budget,
        real_size=lambda claimed: int(claimed * 0.8),
    )
    most = []

    def watch():
        assert run.router.bytes_under_way <= budget or run.router.under_way == 1
        most.append(run.router.under_way)

    run.run(watch)
    assert len(run.ended) == 300
    assert max(most) > 4


def test_a_batch_stays_on_the_replica_that_takes_its_first_turn():
    routes = router({f"r{i}": ROLES for i in range(4)})
    assert len(set(started(routes, "a").values())) == 1


def test_a_batch_goes_on_where_its_memory_is_though_others_are_idle():
    routes = router({f"r{i}": ROLES for i in range(4)})
    started(routes, "a")
    assert set(started(routes, "b", ROLES[2:], holders=["r0"]).values()) == {"r0"}


def test_memory_on_a_replica_that_does_not_play_the_role_does_not_draw_a_turn():
    routes = router({"r0": ROLES[:1], "r1": ROLES[1:]})
    assert started(routes, "a", ROLES[1:], holders=["r0"]) == dict.fromkeys(ROLES[1:], "r1")


def test_an_idle_replica_comes_before_a_fast_one_that_is_at_work():
    routes = router({"slow": ROLES, "fast": ROLES})
    routes.posts["slow"].pace, routes.posts["fast"].pace = 100.0, 1.0
    assert started(routes, "a")["planner"] == "fast"
    assert started(routes, "b")["planner"] == "slow"
    assert started(routes, "c")["planner"] == "fast"


def test_no_replica_that_could_begin_a_batch_has_more_than_one_waiting_before_another_starts():
    routes = router({"r0": ROLES[:1], "r1": ROLES[1:]})
    starts = 0
    while routes.has_room(ROLES, 0):
        started(routes, f"b{starts}")
        starts += 1
    assert starts == 2
    routes.took("b0", ROLES[:1], 1.0)
    assert routes.has_room(ROLES, 0)


def test_a_batch_that_nobody_alive_can_finish_does_not_start():
    models = {**dict.fromkeys(ROLES, "m"), "solver": "other"}
    routes = router({"r0": ROLES[:3], "r1": ROLES[3:]}, models=models)
    routes.lost("r1")
    assert not routes.has_room(ROLES, 0)
    assert routes.has_room(ROLES[:3], 0)
    assert started(routes, "a") is None
    assert routes.posts["r0"].load == 0
    routes.back("r1", "")
    assert routes.has_room(ROLES, 0)


def test_the_roles_of_a_dead_replica_are_played_by_any_with_the_same_checkpoint():
    models = {**dict.fromkeys(ROLES, "m"), "critic": "other"}
    routes = router({"r0": ROLES[:1], "r1": ROLES[1:2], "r2": ROLES[2:3], "r3": ROLES[3:]}, models=models)
    routes.lost("r2")
    assert started(routes, "a")["refiner"] in ("r0", "r3")


def test_one_batch_may_always_be_under_way_however_large_it_is():
    routes = router({"r0": ROLES}, budget=10)
    assert routes.has_room(ROLES, 1000)
    started(routes, "a", nbytes=1000)
    assert not routes.has_room(ROLES, 0)
    routes.claim("a", 4)
    assert routes.has_room(ROLES, 6)
    assert not routes.has_room(ROLES, 7)


def test_an_ended_batch_leaves_nothing_behind():
    routes = router({"r0": ROLES[:2], "r1": ROLES[2:]})
    started(routes, "a", nbytes=5)
    routes.took("a", ROLES[:2], 3.0)
    assert [routes.posts[name].load for name in ("r0", "r1")] == [0, 1]
    routes.end("a")
    assert (routes.under_way, routes.bytes_under_way) == (0, 0)
    assert [routes.posts[name].load for name in ("r0", "r1")] == [0, 0]


def test_recast_replicas_get_the_turns_of_their_new_roles():
    routes = router({"r0": ROLES, "r1": ROLES})
    routes.recast({"r0": ROLES[:2], "r1": ROLES[2:]})
    assert started(routes, "a") == {"planner": "r0", "critic": "r0", "refiner": "r1", "solver": "r1"}


def test_policy_is_pure():
    modules = ", ".join(f"pipeline.runtime.{name}" for name in ("router", "placement", "legs", "batches", "sizes"))
    code = f"import sys, {modules}; sys.exit(bool({{'ray', 'torch'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_batch_claims_the_stores_of_the_nodes_that_it_comes_by_and_no_others():
    pairs = {"r0": ROLES[:3], "r1": ROLES[3:], "r2": ROLES[:3], "r3": ROLES[3:]}
    nodes = {"r0": "a", "r1": "a", "r2": "b", "r3": "b"}
    routes = router(pairs, nodes=nodes, budget=100)
    assert started(routes, "x", nbytes=80) == {**dict.fromkeys(ROLES[:3], "r0"), "solver": "r1"}
    assert (routes.bytes_on("a"), routes.bytes_on("b")) == (80, 0)
    assert routes.has_room(ROLES, 80)  # on node b
    assert set(started(routes, "y", nbytes=80).values()) == {"r2", "r3"}
    assert not routes.has_room(ROLES, 80)
    assert routes.has_room(ROLES, 20)
    routes.claim("x", 30)
    assert routes.bytes_on("a") == 30
    assert routes.has_room(ROLES, 70)
    routes.end("x")
    routes.end("y")
    assert (routes.bytes_on("a"), routes.bytes_on("b")) == (0, 0)


def test_a_replica_that_comes_back_on_another_node_claims_that_ones_store():
    routes = router({"r0": ROLES}, nodes={"r0": "a"})
    routes.lost("r0")
    routes.back("r0", "b")
    started(routes, "x", nbytes=10)
    assert (routes.bytes_on("a"), routes.bytes_on("b")) == (0, 10)
