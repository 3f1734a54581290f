"""Crews: which runs share one, and what ends it. Nothing is started: clusters and crews only note what happens."""

from contextlib import contextmanager

import pytest
from ray.exceptions import RayActorError

from pipeline.agents.actor import Briefing, ReplicaStatus
from pipeline.config import RunConfig
from pipeline.graphs import plan_for
from pipeline.runtime import crews as module
from pipeline.runtime.crew import Crew, Member
from pipeline.runtime.crews import Crews
from pipeline.runtime.placement import Capacity, Resources

START, STOP, BRIEF = "start", "stop", "brief"


@pytest.fixture
def events(monkeypatch):
    """What happens, in order; `lost` and `refused` in it are how many briefings and starts are to fail."""
    log = Log()
    monkeypatch.setattr(module, "connected", log.connected)
    monkeypatch.setattr(module, "started_crew", log.started_crew)
    monkeypatch.setattr(module, "briefed", log.briefed)
    monkeypatch.setattr(module, "cluster_capacity", lambda: Capacity(gpus=0, cpus=8))
    return log


class Log(list):
    lost = 0
    refused = ""

    @contextmanager
    def connected(self, address):
        self.append(f"join {address}")
        yield
        self.append(f"leave {address}")

    @contextmanager
    def started_crew(self, seats, config, say, replica):
        self.append(START)
        try:
            yield lambda: self.loaded(seats, config)
        finally:
            self.append(STOP)

    def loaded(self, seats, config):
        if config.model.model == self.refused:
            raise ValueError("--model is broken")
        status = ReplicaStatus(node="n")
        return Crew(
            members={seat.name: Member(seat=seat, actor=None, status=status) for seat in seats},
            resources=Resources(gpus=0, cpus=1, threads=1),
        )

    def briefed(self, crew, seats, briefing):
        self.append(BRIEF)
        if self.lost:
            self.lost -= 1
            raise RayActorError
        return crew


def briefing(**settings):
    config = RunConfig.from_flat(settings)
    return Briefing(config=config, plan=plan_for(config.collaboration))


def run(crews, meanwhile=lambda: None, **settings):
    with crews.at_work(briefing(**settings), lambda _: None, meanwhile) as crew:
        return crew


def test_runs_that_differ_in_what_a_briefing_tells_share_a_crew(events):
    with Crews() as crews:
        run(crews, method="single", task="gsm8k")
        run(crews, method="latent_mas", latent_steps=3, alignment="random", seed=4, max_new_tokens=5)
        run(crews, memory="shuffled", graph="hierarchical", batch_size=2, chat_options={"a": 1})
    assert events == ["join None", START, BRIEF, BRIEF, BRIEF, STOP, "leave None"]


@pytest.mark.parametrize(
    "other",
    [
        {"model": "other"},
        {"roles": {"solver": {"model": "other"}}, "placement": "spread", "replicas": 4},
        {"dtype": "float32"},
        {"backend": "vllm"},
        {"gpu_memory_utilization": 0.7},
        {"trust_remote_code": True},
        {"replicas": 2},
        {"placement": "spread"},
        {"placement": "spread", "transport": "reencode"},
        {"gpus_per_replica": 0.5},
    ],
)
def test_a_run_that_needs_another_crew_gets_it_after_the_last_one_has_ended(events, other):
    with Crews() as crews:
        run(crews)
        run(crews, **other)
    assert events == ["join None", START, BRIEF, STOP, START, BRIEF, STOP, "leave None"]


def test_another_cluster_is_joined_after_the_last_one_has_been_left(events):
    with Crews() as crews:
        run(crews, address="a:1")
        run(crews, address="b:1")
    left = ["join a:1", START, BRIEF, STOP, "leave a:1"]
    assert events == [*left, "join b:1", START, BRIEF, STOP, "leave b:1"]


def test_a_crew_whose_run_failed_is_ended(events):
    with Crews() as crews:
        with pytest.raises(KeyError), crews.at_work(briefing(), lambda _: None):
            raise KeyError
        assert events[-1] == STOP
        run(crews)
    assert events.count(START) == 2


def test_a_crew_that_has_lost_a_replica_between_two_runs_is_started_anew_and_users_hear_of_it(events):
    said = []
    with Crews() as crews:
        run(crews)
        events.lost = 1
        with crews.at_work(briefing(), said.append):
            pass
    assert events == ["join None", START, BRIEF, BRIEF, STOP, START, BRIEF, STOP, "leave None"]
    assert "has died since the last run" in said[0]


def test_what_could_not_be_started_once_is_not_tried_again(events):
    events.refused = "broken"
    with Crews() as crews:
        for _ in range(2):
            with pytest.raises(ValueError, match="--model is broken"):
                run(crews, model="broken")
        run(crews, model="whole")
    assert events == ["join None", START, STOP, START, BRIEF, STOP, "leave None"]


def test_what_is_done_meanwhile_is_done_once_before_replicas_are_waited_for(events):
    with Crews() as crews:
        for _ in range(2):
            run(crews, lambda: events.append("meanwhile"))
    assert events == ["join None", START, "meanwhile", BRIEF, BRIEF, "meanwhile", STOP, "leave None"]


def test_what_fails_meanwhile_ends_the_crew_and_says_nothing_of_it(events):
    def fail():
        raise ValueError("no store")

    with Crews() as crews:
        with pytest.raises(ValueError, match="no store"):
            run(crews, fail)
        assert events[-1] == STOP
        run(crews)
    assert events == ["join None", START, STOP, START, BRIEF, STOP, "leave None"]


def test_what_one_cluster_refused_is_tried_on_the_next_one(events):
    events.refused = "large"
    with Crews() as crews:
        with pytest.raises(ValueError, match="--model is broken"):
            run(crews, model="large", address="small:1")
        events.refused = ""
        run(crews, model="large", address="big:1")
    assert events == ["join small:1", START, STOP, "leave small:1", "join big:1", START, BRIEF, STOP, "leave big:1"]


def test_roles_are_split_by_time_only_where_that_was_asked_for(events):
    with Crews() as crews:
        assert run(crews, placement="spread", replicas="auto").automatic
        assert not run(crews, placement="spread", replicas=4).automatic
    assert events.count(START) == 1  # as many replicas as there are roles, in both
