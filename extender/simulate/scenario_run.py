"""Run schedule cases: one decision on a given state, or the whole deciding code round after round in virtual time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from extender.errors import ConfigError
from extender.model.pod import Placement
from extender.packing.strategy import Strategy
from extender.planning.plan import Action, Plan, plan
from extender.planning.settings import Settings
from extender.simulate import scenario_kinds
from extender.simulate.scenario_file import Case
from extender.simulate.scenario_world import NOW, UnsupportedError, World

_GRACE_OF_ONE_ACTION_S = 60.0
_UNTIL_MATCH, _THEN_STABLE = 2, 5
_GPU_TOLERANCE = 0.005  # requests by memory are a rounded part of a GPU


@dataclass(slots=True)
class Outcome:
    """What came of a case, in the form that is printed."""

    case: Case
    passed: bool = False
    actual: dict[str, str] = field(default_factory=dict)
    gpus_held: dict[str, float] = field(default_factory=dict)
    differences: list[str] = field(default_factory=list)
    unsupported: str = ""

    def to_json(self) -> dict[str, Any]:
        told: dict[str, Any] = {
            "id": self.case.id,
            "kind": self.case.kind,
            "mode": self.case.mode,
            "passed": self.passed,
            "actual": self.actual,
            "gpus_held": self.gpus_held,
            "differences": self.differences,
        }
        if self.unsupported:
            told["unsupported"] = self.unsupported
        return told


def run(case: Case) -> Outcome:
    """Run one case. Raises ConfigError when a field of it cannot be read."""
    outcome = Outcome(case)
    try:
        if case.kind == "schedule":
            _schedule(case, outcome)
        else:
            outcome.differences = scenario_kinds.differences(case)
    except UnsupportedError as error:
        outcome.unsupported = str(error)
        return outcome
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ConfigError(f"{case.file}:{case.line}: {case.id}: {type(error).__name__}: {str(error)[:200]}") from error
    outcome.passed = not outcome.differences
    return outcome


def _schedule(case: Case, outcome: Outcome) -> None:
    body = scenario_kinds.generated(case.body) if "generate" in case.body else case.body
    world = World(body)
    mode, _, action = case.mode.partition(":")
    if mode == "settled":
        _settle(world, body, outcome)
    elif mode == "one-action":
        try:
            chosen = Action(action)
        except ValueError as error:
            raise UnsupportedError(f"action {action}") from error
        settings = _settings(body, stale_after_s=_GRACE_OF_ONE_ACTION_S)
        decided = _decide(world, settings, (chosen,))
        outcome.actual = _decisions(world, decided)
        _apply(world, decided)
        outcome.gpus_held = world.gpus_held()
        outcome.differences = _compare(body, outcome.actual, outcome.gpus_held)
    else:
        raise UnsupportedError(f"mode {case.mode or 'missing'}")


def _settle(world: World, body: Mapping[str, Any], outcome: Outcome) -> None:
    """Rounds until the state matches, then rounds in which it must stay. Reports the state of the last one."""
    rounds = body.get("rounds") or {}
    until, stable = int(rounds.get("until_match", _UNTIL_MATCH)), int(rounds.get("then_stable", _THEN_STABLE))
    settings = _settings(body, stale_after_s=0.0)
    matched_in: int | None = None
    for number in range(1, until + stable + 1):
        decided = _decide(world, settings, tuple(Action))
        _apply(world, decided)
        outcome.actual = _states(world)
        outcome.gpus_held = world.gpus_held()
        outcome.differences = [
            f"round {number}: {one}" for one in _compare(body, _settled(outcome.actual), outcome.gpus_held)
        ]
        if not outcome.differences and matched_in is None:
            matched_in = number
        if outcome.differences and (matched_in is not None or number >= until):
            return
        if matched_in is not None and number >= matched_in + stable:
            return
        _next_round(world)


def _decide(world: World, settings: Settings, actions: tuple[Action, ...]) -> Plan:
    gangs = world.gangs()
    return plan(world.picture(), world.tree(gangs), gangs, settings, NOW, actions)


def _settings(body: Mapping[str, Any], *, stale_after_s: float) -> Settings:
    placement = body.get("placement") or {}
    node = _strategy(placement.get("node", "binpack"))
    return Settings(
        gpu_strategy=node,
        cpu_strategy=node,
        device_strategy=_strategy(placement.get("gpu", "binpack")),
        most_moves=None,
        stale_after_s=stale_after_s,
    )


def _strategy(name: object) -> Strategy:
    known = {"binpack": Strategy.BINPACK, "spread": Strategy.SPREAD}
    if name not in known:
        raise UnsupportedError(f"placement {name}")
    return known[str(name)]


def _decisions(world: World, decided: Plan) -> dict[str, str]:
    """Each pod's state with what was decided about it: bind, nominate, evict; the others as they are."""
    actual = {
        name: _at("nominate" if pod.state == "pipelined" else pod.state, pod.placement)
        for name, pod in world.pods.items()
    }
    actual.update({eviction.uid: "evict" for eviction in decided.evictions})
    actual.update({seat.uid: _at("bind" if seat.bindable else "nominate", seat.placement) for seat in decided.seats})
    return dict(sorted(actual.items()))


def _apply(world: World, decided: Plan) -> None:
    for eviction in decided.evictions:
        world.set(eviction.uid, "releasing", world.pods[eviction.uid].placement)
    for seat in decided.seats:
        world.set(seat.uid, "running" if seat.bindable else "pipelined", seat.placement)


def _states(world: World) -> dict[str, str]:
    return {name: _at(pod.state, pod.placement) for name, pod in sorted(world.pods.items())}


def _settled(actual: Mapping[str, str]) -> dict[str, str]:
    """The state between two rounds: who was evicted is back and waits, who is nominated waits still."""
    return {name: "pending" if state.partition("@")[0] == "pipelined" else state for name, state in actual.items()}


def _next_round(world: World) -> None:
    """Evicted pods come back as new ones, nominated ones wait again; deleted and stuck ones stay as they are."""
    for name, pod in list(world.pods.items()):
        deleted = world.groups[pod.group].get("deleted_by_user")
        if pod.state == "pipelined" or (pod.state == "releasing" and not deleted):
            world.set(name, "pending", None)


def _at(state: str, placement: Placement | None) -> str:
    return f"{state}@{placement.node}" if placement is not None and state not in ("pending", "evict") else state


def _compare(body: Mapping[str, Any], actual: Mapping[str, str], held: Mapping[str, float]) -> list[str]:
    differences = []
    expected = body.get("expected") or {}
    exact = {name for name in expected if not str(name).endswith("-*")}
    for pattern, wanted in expected.items():
        state, _, node = str(wanted).partition("@")
        pods = [str(pattern)]
        if str(pattern).endswith("-*"):
            group = str(pattern)[:-2]
            pods = [name for name in actual if name.rpartition("-")[0] == group and name not in exact]
        for pod in pods:
            got = actual.get(pod, "missing")
            is_state, _, is_node = got.partition("@")
            if is_state != state or (node and is_node != node):
                differences.append(f"{pod}: {wanted} expected, {got} found")
    for queue, wanted in (body.get("gpus_held") or {}).items():
        if abs(held.get(str(queue), 0.0) - float(wanted)) > _GPU_TOLERANCE:
            differences.append(f"queue {queue}: {wanted} GPUs expected, {held.get(str(queue), 0.0):g} found")
    if (body.get("expected_generated") or {}).get("gang_nodes") == "all different":
        nodes = [state.partition("@")[2] for pod, state in actual.items() if pod.startswith("p0-")]
        if len(set(nodes)) != len(nodes):
            differences.append("gang: all different nodes expected")
    return differences
