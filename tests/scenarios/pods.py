"""Pods in short: `{name, namespace, gpus | fraction | memory | mig | …}` → a Pod object. And 200 at random."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any

from extender.emulator.kubelet import EXIT_CODE, RUN_SECONDS

Json = dict[str, Any]

EXPECT = "scenario.run.ai/expect"
"""Annotation of generated pods that can never run: the reason (one of `A,B`) they are refused with."""

KEYS = frozenset(
    {"name", "namespace", "count", "gpus", "fraction", "memory", "devices", "mig", "cpu", "ram", "labels"}
    | {"annotations", "priority", "run_seconds", "exit_code", "group", "project", "node_selector", "expect"}
    | {"finalizers"}
)


def pod(short: Mapping[str, Any]) -> Json:
    """One Pod object. Raises ValueError for a key that `KEYS` does not know."""
    unknown = short.keys() - KEYS
    if unknown:
        raise ValueError(f"pod {short.get('name')}: unknown keys {sorted(unknown)}")
    annotations: dict[str, str] = dict(short.get("annotations") or {})
    labels: dict[str, str] = dict(short.get("labels") or {})
    for key, annotation in {
        "fraction": "gpu-fraction",
        "memory": "gpu-memory",
        "devices": "gpu-fraction-num-devices",
        "run_seconds": RUN_SECONDS,
        "exit_code": EXIT_CODE,
        "group": "scheduling.k8s.io/group-name",
        "expect": EXPECT,
    }.items():
        if key in short:
            annotations[annotation] = str(short[key])
    if "priority" in short:
        labels["priorityClassName"] = short["priority"]
    if "project" in short:
        labels["runai/queue"] = short["project"]
    limits: dict[str, str] = {}
    if short.get("gpus"):
        limits["nvidia.com/gpu"] = str(short["gpus"])
    for profile, count in (short.get("mig") or {}).items():
        limits[f"nvidia.com/mig-{profile}"] = str(count)
    requests = {name: str(short[key]) for key, name in (("cpu", "cpu"), ("ram", "memory")) if key in short}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": short["name"],
            "namespace": short.get("namespace", "default"),
            "annotations": annotations,
            "labels": labels,
            **({"finalizers": short["finalizers"]} if "finalizers" in short else {}),
        },
        "spec": {
            "schedulerName": "runai-scheduler",
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            **({"nodeSelector": short["node_selector"]} if "node_selector" in short else {}),
            "containers": [{"name": "main", "image": "img", "resources": {"limits": limits, "requests": requests}}],
        },
    }


def expand(shorts: list[Mapping[str, Any]]) -> Iterator[Json]:
    """`count: 3` of a name `f` makes f-0, f-1, f-2."""
    for short in shorts:
        if "count" not in short:
            yield pod(short)
            continue
        for number in range(short["count"]):
            yield pod({**short, "name": f"{short['name']}-{number}"})


_INVALID: tuple[Json, ...] = (
    {"fraction": "1.5"},
    {"fraction": "NaN"},
    {"fraction": "0"},
    {"fraction": "0.5,0.5"},
    {"fraction": "0.5", "gpus": 1},
    {"memory": "0"},
    {"memory": "1000", "fraction": "0.5"},
    {"devices": "2"},
)


def mixed(count: int, seed: int, projects: list[str]) -> Iterator[Json]:
    """`count` pods of every kind in namespaces `runai-<project>`; the same arguments make the same pods."""
    dice = random.Random(seed)
    for number in range(count):
        project = dice.choice(projects)
        short: Json = {
            "name": f"mix-{number:03d}",
            "namespace": f"runai-{project}",
            "cpu": dice.choice(("100m", "1", "3")),
        }
        kind = dice.choices(
            ("whole", "fraction", "several", "memory", "cpu", "mig", "invalid", "over-quota", "build", "nobody"),
            weights=(34, 26, 6, 9, 8, 6, 4, 3, 5, 2),
        )[0]
        match kind:
            case "whole":
                short["gpus"] = dice.choices((1, 2, 4), weights=(6, 3, 2))[0]
            case "fraction":
                short["fraction"] = dice.choice(("0.1", "0.25", "0.3", "0.5", "0.75", "0.3333"))
            case "several":
                short |= {"fraction": dice.choice(("0.25", "0.5")), "devices": dice.choice((2, 3))}
            case "memory":
                short["memory"] = dice.choice((2048, 8000, 16384, 30000))
            case "mig":
                short["mig"] = {dice.choice(("1g.5gb", "2g.10gb")): dice.choice((1, 2))}
            case "invalid":
                short |= dice.choice(_INVALID) | {"expect": "InvalidGpuRequest"}
            case "over-quota":
                # More than any project deserves: no moment at which it could start. Limits are looked at first.
                reasons = "NonPreemptibleOverQuota,OverLimit"
                short |= {"fraction": "0.9", "devices": 60, "priority": "build", "expect": reasons}
            case "build":
                short |= {"gpus": 1, "priority": "build"}
            case "nobody":
                short |= {"namespace": "default", "expect": "QueueDoesNotExist", "gpus": 1}
            case _:
                pass
        if "expect" not in short and dice.random() < 0.2:
            short["run_seconds"] = dice.choice((1, 2, 4))
            short["exit_code"] = dice.choice((0, 0, 1))
        yield pod(short)
