"""Capacity checks: behaviour.md 6.8 and vectors S5, S6, S8."""

from __future__ import annotations

import pytest

from extender.fairshare.capacity import Usage, check
from extender.model.amounts import Amounts
from extender.model.queue import Queue, Quota
from extender.model.verdict import Reason


def team(deserved: Quota | None = None, limit: Quota | None = None, name: str = "team-a") -> Queue:
    return Queue(name, deserved or Quota(), limit or Quota())


def holds(allocated: Amounts, non_preemptible: Amounts | None = None) -> Usage:
    return Usage(allocated, allocated if non_preemptible is None else non_preemptible)


def test_s5_non_preemptible_stays_within_the_quota() -> None:
    path = [(team(deserved=Quota(gpu_milli=2000)), holds(Amounts(gpu_milli=1500)))]
    verdict = check(path, Amounts(gpu_milli=1000), preemptible=False)
    assert verdict is not None
    assert verdict.reason is Reason.NON_PREEMPTIBLE_OVER_QUOTA
    assert verdict.message == (
        "Non-preemptible workload is over quota. Workload requested 1 GPUs, but team-a quota is 2 GPUs, while 1.5 GPUs "
        "are already allocated for non-preemptible pods. Use a preemptible workload to go over quota."
    )
    assert check(path, Amounts(gpu_milli=1000), preemptible=True) is None


def test_s6_the_limit_binds_everybody() -> None:
    path = [(team(limit=Quota(gpu_milli=4000)), holds(Amounts(gpu_milli=3500)))]
    for preemptible in (True, False):
        verdict = check(path, Amounts(gpu_milli=1000), preemptible=preemptible)
        assert verdict is not None
        assert verdict.reason is Reason.OVER_LIMIT
        assert verdict.message == (
            "team-a quota has reached the allowable limit of GPUs. Limit is 4 GPUs, currently 3.5 GPUs allocated and "
            "workload requested 1 GPUs"
        )
    assert check(path, Amounts(gpu_milli=500), preemptible=True) is None


def test_s8_tenths_add_up() -> None:
    quota = team(deserved=Quota(gpu_milli=300))
    assert check([(quota, holds(Amounts()))], Amounts(gpu_milli=100), preemptible=False) is None
    assert check([(quota, holds(Amounts(gpu_milli=100)))], Amounts(gpu_milli=200), preemptible=False) is None
    assert check([(quota, holds(Amounts(gpu_milli=300)))], Amounts(gpu_milli=1), preemptible=False) is not None


@pytest.mark.parametrize(
    ("limit", "held", "asked", "message"),
    [
        pytest.param(
            Quota(cpu_milli=4000),
            Amounts(cpu_milli=3500),
            Amounts(cpu_milli=1000),
            "team-a quota has reached the allowable limit of CPU cores. Limit is 4 cores, currently 3.5 cores "
            "allocated and workload requested 1 cores",
            id="cpu",
        ),
        pytest.param(
            Quota(memory_mib=10_240),
            Amounts(memory_mib=10_240),
            Amounts(memory_mib=1024),
            "team-a quota has reached the allowable limit of memory. Limit is 10.737 GB, currently 10.737 GB allocated "
            "and workload requested 1.074 GB",
            id="memory",
        ),
    ],
)
def test_limit_texts_of_the_other_resources(limit: Quota, held: Amounts, asked: Amounts, message: str) -> None:
    verdict = check([(team(limit=limit), holds(held))], asked, preemptible=True)
    assert verdict is not None
    assert (verdict.reason, verdict.message) == (Reason.OVER_LIMIT, message)


@pytest.mark.parametrize(
    ("quota", "held", "asked", "message"),
    [
        pytest.param(
            Quota(cpu_milli=2000),
            Amounts(cpu_milli=1500),
            Amounts(cpu_milli=1000),
            "Non-preemptible workload is over quota. Workload requested 1 CPU cores, but team-a quota is 2 cores, "
            "while 1.5 cores are already allocated for non-preemptible pods. Use a preemptible workload to go over "
            "quota.",
            id="cpu",
        ),
        pytest.param(
            Quota(memory_mib=1024),
            Amounts(memory_mib=512),
            Amounts(memory_mib=1024),
            "Non-preemptible workload is over quota. Workload requested 1.074 GB memory, but team-a quota is 1.074 GB, "
            "while 0.537 GB are already allocated for non-preemptible pods. Use a preemptible workload to go over "
            "quota.",
            id="memory",
        ),
    ],
)
def test_quota_texts_of_the_other_resources(quota: Quota, held: Amounts, asked: Amounts, message: str) -> None:
    verdict = check([(team(deserved=quota), holds(held))], asked, preemptible=False)
    assert verdict is not None
    assert (verdict.reason, verdict.message) == (Reason.NON_PREEMPTIBLE_OVER_QUOTA, message)


NOTHING_LEFT = Quota(gpu_milli=0, cpu_milli=0, memory_mib=0)


@pytest.mark.parametrize(
    ("deserved", "limit", "asked", "preemptible", "reason"),
    [
        pytest.param(Quota(), Quota(), Amounts(10**9, 10**9, 10**9), False, None, id="no limits"),
        pytest.param(NOTHING_LEFT, NOTHING_LEFT, Amounts(), False, None, id="asks for nothing"),
        pytest.param(Quota(gpu_milli=0), Quota(), Amounts(cpu_milli=5), False, None, id="no GPUs asked for"),
        pytest.param(Quota(gpu_milli=0), Quota(), Amounts(1), False, Reason.NON_PREEMPTIBLE_OVER_QUOTA, id="quota 0"),
        pytest.param(Quota(gpu_milli=0), Quota(), Amounts(1), True, None, id="quota 0, preemptible"),
        pytest.param(Quota(), Quota(gpu_milli=0), Amounts(1), True, Reason.OVER_LIMIT, id="limit 0"),
        pytest.param(NOTHING_LEFT, NOTHING_LEFT, Amounts(1), False, Reason.OVER_LIMIT, id="the limit is told first"),
        pytest.param(Quota(gpu_milli=5), Quota(gpu_milli=5), Amounts(5), False, None, id="exactly full"),
    ],
)
def test_what_is_checked(
    deserved: Quota, limit: Quota, asked: Amounts, preemptible: bool, reason: Reason | None
) -> None:
    verdict = check([(team(deserved, limit), Usage())], asked, preemptible=preemptible)
    assert (verdict.reason if verdict else None) == reason


def test_only_non_preemptible_use_counts_against_the_quota() -> None:
    usage = Usage(allocated=Amounts(gpu_milli=9000), non_preemptible=Amounts(gpu_milli=500))
    path = [(team(deserved=Quota(gpu_milli=1000)), usage)]
    assert check(path, Amounts(gpu_milli=500), preemptible=False) is None


@pytest.mark.parametrize(
    ("project", "department", "named"),
    [
        pytest.param(Quota(gpu_milli=1), Quota(gpu_milli=1), "team-a", id="both: the project is told"),
        pytest.param(Quota(), Quota(gpu_milli=1), "research", id="only the department"),
    ],
)
def test_every_queue_of_the_path_is_asked(project: Quota, department: Quota, named: str) -> None:
    usage = holds(Amounts(gpu_milli=1))
    limited = [(team(limit=project), usage), (team(limit=department, name="research"), usage)]
    verdict = check(limited, Amounts(gpu_milli=1), preemptible=True)
    assert verdict is not None
    assert verdict.message.startswith(f"{named} quota has reached")
    deserving = [(team(deserved=project), usage), (team(deserved=department, name="research"), usage)]
    verdict = check(deserving, Amounts(gpu_milli=1), preemptible=False)
    assert verdict is not None
    assert f"but {named} quota is 0.001 GPUs" in verdict.message


def test_the_departments_limit_is_told_before_the_projects_quota() -> None:
    path = [
        (team(deserved=Quota(gpu_milli=0)), Usage()),
        (team(limit=Quota(gpu_milli=0), name="research"), Usage()),
    ]
    verdict = check(path, Amounts(gpu_milli=1), preemptible=False)
    assert verdict is not None
    assert verdict.reason is Reason.OVER_LIMIT
