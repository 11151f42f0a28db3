"""Cases of one pure function, and cases that are described instead of listed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

from extender.fairshare.division import Claim, divide
from extender.fairshare.reclaim import Trade
from extender.fairshare.tree import QuotaTree, Standing
from extender.model.amounts import GPU, Amounts
from extender.model.names import ProjectName
from extender.model.queue import Queue, Quota
from extender.simulate import scenario_rules
from extender.simulate.scenario_file import Case
from extender.simulate.scenario_world import UnsupportedError

Json = Mapping[str, Any]
_RESOURCES = ("gpu", "cpu", "mem")


def differences(case: Case) -> list[str]:
    """What the functions answer otherwise than the case says. Raises UnsupportedError."""
    known: dict[str, Callable[[Json], list[str]]] = {
        "division": _division,
        "predicate": _predicates,
        "order": scenario_rules.order_differences,
        "admission": scenario_rules.admission_differences,
    }
    if case.kind not in known:
        raise UnsupportedError(f"kind {case.kind}: service behaviour, tested there")
    return known[case.kind](case.body)


def _division(body: Json) -> list[str]:
    found = []
    for number, case in enumerate(body["cases"], start=1):
        claims = [
            Claim(
                requested=_milli(one["r"]),
                deserved=None if one["d"] == -1 else _milli(one["d"]),
                limit=None if one.get("limit", -1) == -1 else _milli(one["limit"]),
                weight=one.get("w", 0),
                priority=one.get("p", 100),
                usage=Fraction(str(one.get("u", 0))),
            )
            for one in case["q"]
        ]
        total = _milli(case["total"])
        shares = divide(total, claims, unit=GPU, k=Fraction(str(case.get("k", 1))))
        rest = max(0, total - sum(shares))
        if shares != [_milli(one) for one in case["share"]] or rest != _milli(case["rest"]):
            got = [share / GPU for share in shares]
            found.append(
                f"case {number}: {case['share']} and rest {case['rest']} expected, {got} and {rest / GPU} found"
            )
    return found


def _predicates(body: Json) -> list[str]:
    found = []
    for number, case in enumerate(body["cases"], start=1):
        if case.keys() & {"victim", "victim_multi"}:
            got = _may_lose(case)
        elif "queues" in case:
            got = _may_trade(case)
        elif case.keys() & {"reclaimer", "reclaimer_multi"}:
            got = _is_entitled(case)
        else:
            raise UnsupportedError(f"predicate with keys {', '.join(case)}")
        if got is not case["ok"]:
            found.append(f"case {number}: {case['ok']} expected, {got} found")
    return found


def _may_lose(case: Json) -> bool:
    """A victim beside a reclaimer; one of whom nothing is said is not inside its quota, so only the victim decides."""
    trade, victim = _two(case)
    return trade.may_lose(victim)


def _is_entitled(case: Json) -> bool:
    """A reclaimer alone: whether it may have what it asks for at all."""
    trade, _ = _two(case)
    return trade.is_entitled()


def _two(case: Json) -> tuple[Trade, Standing]:
    """Figures by resource: d quota, fs fair share, al allocated, np of that not preemptible, limit; ask of the job."""
    queues, shares, held = [], {}, {}
    for name in ("victim", "reclaimer"):
        given = case.get(f"{name}_multi") or {"gpu": case.get(name) or {}}
        figures = [given.get(resource) or {} for resource in _RESOURCES]
        queues.append(
            Queue(
                name,
                deserved=_quota([one.get("d", 0) for one in figures]),
                limit=_quota([one.get("limit", -1) for one in figures]),
            )
        )
        shares[name] = _amounts([one.get("fs", 0) for one in figures])
        held[name] = [[_milli(one.get(key, 0)) for one in figures] for key in ("al", "np")]
    tree = QuotaTree(Amounts(), queues)
    tree.take_shares(shares)
    for name, (allocated, kept) in held.items():
        standing = tree.projects[ProjectName(name)]
        standing.allocated, standing.non_preemptible = allocated, kept
    ask = case.get("ask", {} if case.keys() & {"reclaimer", "reclaimer_multi"} else {"gpu": 1, "cpu": 1, "mem": 1})
    asked = ask if isinstance(ask, Mapping) else {"gpu": ask}
    trade = Trade(
        tree,
        tree.projects[ProjectName("reclaimer")],
        _amounts([asked.get(resource, 0) for resource in _RESOURCES]),
        preemptible=case.get("preemptible", True),
    )
    return trade, tree.projects[ProjectName("victim")]


def _may_trade(case: Json) -> bool:
    """The whole check of a trade: within quota, every loss allowed in turn, fair at every level afterwards."""
    rows: dict[str, list[Any]] = case["queues"]
    parents = {row[0] for row in rows.values()} - {None}
    queues = {
        name: Queue(name, Quota(gpu_milli=_milli(row[1])), department=row[0] or "", created=float(at))
        for at, (name, row) in enumerate(rows.items())
    }
    tree = QuotaTree(
        Amounts(),
        [queue for name, queue in queues.items() if name not in parents],
        [queue for name, queue in queues.items() if name in parents],
    )
    standings: dict[str, Standing] = {**tree.departments, **{str(name): one for name, one in tree.projects.items()}}
    others: dict[str, Json] = case.get("cpu") or {}
    tree.take_shares(
        {
            name: Amounts(_milli(row[2]), _milli(others[name]["fs"]) if name in others else _UNBOUNDED, _UNBOUNDED)
            for name, row in rows.items()
        }
    )
    for name, row in rows.items():
        standings[name].allocated = [_milli(row[3]), _milli(others.get(name, {}).get("al", 0)), 0]
    for name, held in (case.get("np") or {}).items():
        standings[name].non_preemptible = [_milli(held), 0, 0]
    reclaimer, request = standings[case["from"]], Amounts(_milli(case["ask"]))
    preemptible = case.get("preemptible", True)
    trade = Trade(
        tree, reclaimer, request, preemptible=preemptible, multiplier=Fraction(str(case.get("multiplier", 1)))
    )
    # Whether the project is entitled at all is another question, asked before; but no quota may be passed.
    if not reclaimer.admits(request, preemptible=preemptible):
        return False
    for name, amount in case["victims"].items():
        if not trade.may_lose(standings[name]):
            return False
        trade.take(standings[name], Amounts(_milli(amount)))
    return trade.is_fair()


_UNBOUNDED = 1 << 40


def _quota(figures: list[Any]) -> Quota:
    gpu, cpu, memory = (None if one == -1 else _milli(one) for one in figures)
    return Quota(gpu, cpu, memory)


def _amounts(figures: list[Any]) -> Amounts:
    gpu, cpu, memory = map(_milli, figures)
    return Amounts(gpu, cpu, memory)


def _milli(value: object) -> int:
    milli = Decimal(str(value)) * GPU
    if milli != milli.to_integral_value():
        raise ValueError(f"finer than a thousandth: {value}")
    return int(milli)


# Cases that are described instead of listed

_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBERS = {word: number for number, word in enumerate(_WORDS)}


def generated(body: Json) -> dict[str, Any]:
    """A case with nodes, victims and one gang written out. Raises UnsupportedError for other descriptions.

    Nodes "n0..n10, 4 gpus each"; victims "44 groups of one pod, 1 gpu, priority 50, four per node"; gang "one group,
    11 pods, 4 gpus each, priority 100, min 11".
    """
    told: Json = body["generate"]
    nodes = re.fullmatch(r"n0\.\.n(\d+), (\d+) gpus? each", str(told.get("nodes")))
    victims = re.fullmatch(
        r"(\w+) groups of one pod, (\d+) gpus?, priority (\d+), (\w+) per node", str(told.get("victims"))
    )
    gang = re.fullmatch(r"one group, (\w+) pods, (\d+) gpus? each, priority (\d+), min (\d+)", str(told.get("gang")))
    if not (nodes and victims and gang):
        raise UnsupportedError("generate: this description")
    names = [f"n{at}" for at in range(int(nodes[1]) + 1)]
    queue = body["queues"][0]["name"]
    count, per_node = _number(victims[1]), _number(victims[4])
    size = _number(gang[1])
    outcomes = body.get("expected_generated") or {}
    return {
        **body,
        "nodes": {name: {"gpus": int(nodes[2])} for name in names},
        "groups": [
            *(
                {
                    "name": f"r{at}",
                    "queue": queue,
                    "priority": int(victims[3]),
                    "min": 1,
                    "ask": {"gpu": int(victims[2])},
                }
                for at in range(count)
            ),
            {"name": "p0", "queue": queue, "priority": int(gang[3]), "min": int(gang[4]), "ask": {"gpu": int(gang[2])}},
        ],
        "running": [{"pod": f"r{at}-0", "node": names[at // per_node]} for at in range(count)],
        "pending": [f"p0-{at}" for at in range(size)],
        "expected": {
            **({f"r{at}-0": outcomes["victims"] for at in range(count)} if "victims" in outcomes else {}),
            **({"p0-*": outcomes["gang"]} if "gang" in outcomes else {}),
        },
    }


def _number(text: str) -> int:
    return _NUMBERS[text] if text in _NUMBERS else int(text)
