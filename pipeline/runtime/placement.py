"""Which replicas a run has, which roles each of them plays, and what each gets of the cluster. Pure policy: no Ray."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

from pipeline.config import ExecutionConfig, ModelConfig, replica_counts
from pipeline.validation import require


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """What a cluster has."""

    gpus: float
    cpus: float
    nodes: int = 1


@dataclass(frozen=True, kw_only=True)
class Seat:
    """A replica's place in a run."""

    name: str
    """What it is called: r0, r1, ..."""
    roles: tuple[str, ...]
    """The roles that it plays, in working order."""
    model: str
    """Its checkpoint; in need it can play every role that has the same one."""


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What each replica gets of the cluster."""

    gpus: float
    """GPUs; a fraction where several replicas share one."""
    cpus: float
    """CPUs as Ray counts them; some are left for scoring."""
    threads: int
    """Compute threads of a replica without a GPU."""


def resources(count: int, execution: ExecutionConfig, capacity: Capacity) -> Resources:
    """A GPU each where there are GPUs, or what was asked for; CPUs in equal shares, with room left for scoring.

    Raises:
        ValueError: The cluster holds fewer replicas. What was asked for by `--gpus-per-replica` is not refused: a
            cluster that scales itself may have yet to start its GPUs.
    """
    cpus = max(capacity.cpus, 1)
    gpus = execution.gpus_per_replica
    if gpus is None:
        gpus = 1.0 if capacity.gpus else 0.0
        have, what = (capacity.gpus, "GPUs") if capacity.gpus else (cpus, "CPUs")
        require(count <= have, "replicas", count, f"at most {have:g}, the number of {what} in the cluster")
    # Whole hundredths: Ray rounds to ten thousandths, and rounded thirds would add up to more than their bundle has.
    share = max(1, math.floor(100 * min(1.0, cpus / (2 * count)))) / 100
    return Resources(gpus=gpus, cpus=0.01 if gpus and share < 0.1 else share, threads=max(1, int(cpus // count)))


def seats(
    roles: Sequence[str], execution: ExecutionConfig, model: ModelConfig, capacity: Capacity
) -> tuple[tuple[Seat, ...], bool]:
    """The replicas of a run.

    Args:
        roles: All roles in working order.
        execution: Placement and numbers.
        model: Which checkpoint plays which role.
        capacity: What the cluster has, for `auto`.

    Returns:
        The seats, and whether their roles are to be split anew once it is known how long each takes.

    Raises:
        ValueError: The numbers don't fit the roles.
    """
    counts = replica_counts(execution.replicas)
    models = {role: model.of_role(role) for role in roles}
    strangers = sorted(model.roles.keys() - models.keys())
    require(not strangers, "roles", strangers, f"{', '.join(roles)}, the roles of this run")
    if execution.placement == "colocated":
        one = len(set(models.values())) == 1
        require(one, "roles", model.roles, "no checkpoints of their own, with --placement colocated")
        every = count_of(counts, execution, capacity, len(roles))
        return tuple(_named([tuple(roles)] * every, models)), False
    if isinstance(counts, dict):
        fits = counts.keys() == models.keys()
        require(fits, "replicas", execution.replicas, f"a number for each of {', '.join(roles)}")
        return tuple(_named([(role,) for role in roles for _ in range(counts[role])], models)), False
    several = len(set(models.values())) > 1
    require(counts is not None or not several, "replicas", "auto", "numbers, where roles have checkpoints of their own")
    every = count_of(counts, execution, capacity, len(roles))
    split = split_roles(roles, every, dict.fromkeys(roles, 1.0), models)
    return tuple(_named(split, models)), counts is None


def check_seats(roles: Sequence[str], execution: ExecutionConfig, model: ModelConfig) -> None:
    """Refuses settings that fit the roles on no cluster, before one is asked.

    Raises:
        ValueError: The numbers or the checkpoints don't fit the roles.
    """
    seats(roles, execution, model, Capacity(gpus=0, cpus=1))


def count_of(counts: object, execution: ExecutionConfig, capacity: Capacity, roles: int) -> int:
    """How many replicas there are to be, where no number is given for each role.

    Auto is all GPUs; where none are there or to be used it is one a node, or spread one a role, as far as the CPUs go.
    """
    if isinstance(counts, int):
        return counts
    each = 1.0 if execution.gpus_per_replica is None else execution.gpus_per_replica
    if capacity.gpus and each:
        return max(1, int(capacity.gpus) * sharing(each) if each < 1 else int(capacity.gpus // each))
    return capacity.nodes if execution.placement == "colocated" else max(1, min(roles, int(capacity.cpus)))


def split_roles(
    roles: Sequence[str], count: int, seconds: Mapping[str, float], models: Mapping[str, str]
) -> list[tuple[str, ...]]:
    """Splits replicas over roles by the time that each role takes.

    With at least as many replicas as roles every role has replicas of its own, one at least, in proportion to its time.
    With fewer, neighbouring roles share a replica, so that the slowest replica has as little to do as possible.

    Args:
        roles: In working order.
        count: Replicas.
        seconds: How long each role takes for the same questions.
        models: The checkpoint of each role; roles with different ones can't share a replica.

    Returns:
        For each replica the roles that it plays.

    Raises:
        ValueError: There are fewer replicas than checkpoints need.
    """
    if count >= len(roles):
        numbers = apportion([seconds[role] for role in roles], count)
        return [(role,) for role, number in zip(roles, numbers, strict=True) for _ in range(number)]
    splits = [parts for parts in _contiguous(roles, count) if all(len({models[r] for r in p}) == 1 for p in parts)]
    require(bool(splits), "replicas", count, "more, as neighbouring roles with different checkpoints can't share one")
    return min(splits, key=lambda parts: max(sum(seconds[role] for role in part) for part in parts))


def apportion(weights: Sequence[float], count: int) -> list[int]:
    """Splits `count` by weight, at least one each: each further one goes where the load of one is the highest."""
    numbers = [1] * len(weights)
    for _ in range(count - len(weights)):
        loads = [weight / number for weight, number in zip(weights, numbers, strict=True)]
        numbers[loads.index(max(loads))] += 1
    return numbers


def bundles(count: int, share: Resources) -> tuple[list[dict[str, float]], list[int]]:
    """The bundles of a placement group, and the one that each replica is put into.

    Replicas with a fraction of a GPU share the bundle of one whole GPU, so that they share the device.
    """
    together = sharing(share.gpus) if 0 < share.gpus < 1 else 1
    groups = math.ceil(count / together)
    bundle = {"CPU": share.cpus * together, **({"GPU": share.gpus if share.gpus >= 1 else 1.0} if share.gpus else {})}
    return [bundle] * groups, [index // together for index in range(count)]


def sharing(gpus: float) -> int:
    """How many replicas with so large a part of a GPU share one; Ray counts in ten thousandths."""
    return 10_000 // max(1, round(10_000 * gpus))


def _named(split: Sequence[tuple[str, ...]], models: Mapping[str, str]) -> Iterator[Seat]:
    for index, roles in enumerate(split):
        yield Seat(name=f"r{index}", roles=roles, model=models[roles[0]])


def _contiguous(roles: Sequence[str], count: int) -> Iterator[list[tuple[str, ...]]]:
    """All ways to cut the roles into `count` runs."""
    for cuts in combinations(range(1, len(roles)), count - 1):
        yield [tuple(roles[begin:end]) for begin, end in pairwise((0, *cuts, len(roles)))]
