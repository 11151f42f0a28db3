"""The demo's picture for people: pods in a table, every GPU as a bar with its sharers."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

Json = dict[str, Any]

_CELLS = 10
_MANY_GPUS = 32  # above, free nodes are counted instead of drawn
_COLOURS = ("cyan", "magenta", "yellow", "green", "blue", "red")
_PHASE_STYLES = {"Running": "green", "Pending": "yellow", "Succeeded": "dim", "Failed": "red"}


def draw(report: Json, hint: str = "") -> RenderableType:
    """Everything, ready to print; `hint` goes below."""
    waiting = [pod for pod in report["pods"] if pod["reason"]]
    parts: list[RenderableType] = [_pods(report["pods"])]
    if waiting:
        parts += [Text(), Text("Why not", style="bold"), *map(_reason, waiting)]
    parts += [Text(), _gpus(report["gpus"])]
    if hint:
        parts += [Text(), Text(hint, no_wrap=True, overflow="ignore")]
    return Group(*parts)


def _reason(pod: Json) -> Text:
    return Text.assemble(f"{pod['namespace']}/{pod['name']}: ", (pod["reason"], "yellow"))


def _pods(pods: list[Json]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("Namespace", "Pod", "Phase", "Node", "GPUs", "Project", "Group"):
        table.add_column(column)
    for pod in pods:
        devices = ",".join(map(str, pod["devices"]))
        table.add_row(
            pod["namespace"],
            pod["name"],
            Text(pod["phase"], style=_PHASE_STYLES.get(pod["phase"], "")),
            pod["node"] or "",
            devices,
            pod["project"] or "",
            pod["pod_group"] or "",
        )
    return table


def _gpus(gpus: list[Json]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("Node", no_wrap=True)
    table.add_column("GPU", justify="right")
    table.add_column("Allocated", justify="right")
    table.add_column("", no_wrap=True)
    table.add_column("Shared by")
    colours: dict[str, str] = {}
    for gpu in gpus:
        for sharer in gpu["sharers"]:
            colours.setdefault(sharer, _COLOURS[len(colours) % len(_COLOURS)])
    used = {gpu["node"] for gpu in gpus if gpu["sharers"]}
    free = [gpu for gpu in gpus if gpu["node"] not in used] if len(gpus) > _MANY_GPUS else []
    shown = ""
    for gpu in gpus:
        if free and gpu["node"] not in used:
            continue
        table.add_row(
            "" if gpu["node"] == shown else gpu["node"],
            str(gpu["device"]),
            f"{gpu['allocated_milli'] / 1000:.2f}",
            _bar(gpu["allocated_milli"], [colours[sharer] for sharer in gpu["sharers"]]),
            Text("  ").join(Text(sharer, style=colours[sharer]) for sharer in gpu["sharers"]),
        )
        shown = gpu["node"]
    if free:
        table.add_row(f"{len({gpu['node'] for gpu in free})} more", "", "0.00", Text(f"{len(free)} free", style="dim"))
    return table


def _bar(milli: int, colours: list[str]) -> Text:
    """Filled cells in the sharers' colours, in equal parts: how much each takes is in the pod, not in the device."""
    filled = min(_CELLS, -(-milli * _CELLS // 1000))
    bar = Text()
    for cell in range(_CELLS):
        if cell < filled and colours:
            bar.append("█", style=colours[cell * len(colours) // filled])
        else:
            bar.append("░", style="dim")
    return bar
