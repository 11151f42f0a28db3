"""Domains of a topology: which nodes share a zone, a rack or a switch, as numbers in arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from extender.cluster.picture import Picture
from extender.packing.score import Bools, Ints

NOT_IN_ANY = -1


@dataclass(frozen=True, slots=True)
class Level:
    """number: the domain of each row of the node table, NOT_IN_ANY where a label is missing. names: by number."""

    number: Ints
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Area:
    """Where members may go. rows: None for all. rank: by row, the largest is taken where one fits; None for none."""

    rows: Bools | None = None
    rank: Ints | None = None


EVERYWHERE = Area()


class Domains:
    """Levels asked for while a plan is made. Cost: one look at each node's labels a level, once a plan."""

    def __init__(self, picture: Picture) -> None:
        self._picture = picture
        self._levels: dict[tuple[str, ...], Level] = {}

    def level(self, levels: tuple[str, ...], key: str) -> Level:
        """The domains of level `key`: nodes that agree in that label and in every wider one of `levels`."""
        path = levels[: levels.index(key) + 1] if key in levels else (*levels, key)
        if path not in self._levels:
            self._levels[path] = self._number(path)
        return self._levels[path]

    def _number(self, path: tuple[str, ...]) -> Level:
        table = self._picture.table
        names: list[str] = [""] * len(table.name_of)
        for name, row in table.row_of.items():
            ledger = self._picture.ledger(name)
            if ledger is None or ledger.node is None:
                continue
            labels = dict(ledger.node.labels)
            if all(key in labels for key in path):
                names[row] = "/".join(labels[key] for key in path)
        known = sorted(set(names) - {""})
        numbers = {name: number for number, name in enumerate(known)}
        return Level(np.array([numbers.get(name, NOT_IN_ANY) for name in names], dtype=np.int64), tuple(known))


def free_in(level: Level, room: Ints, rows: Bools) -> Ints:
    """The room of each domain, counting only `rows`; one entry more is 0, for rows without a domain."""
    inside = rows & (level.number != NOT_IN_ANY)
    free = np.bincount(level.number[inside], weights=room[inside], minlength=len(level.names) + 1)
    return free.astype(np.int64)


def packed(levels: Sequence[Level], room: Ints, rows: Bools) -> list[int]:
    """The domains of the last of `levels`, widest first, that have any of `rows`: those with the least room in front.

    What counts first is the room of the widest domain around them, so that whole zones stay free, then whole racks.
    """
    last = levels[-1]
    numbers, at = np.unique(np.where(rows, last.number, NOT_IN_ANY), return_index=True)
    keys: list[Ints] = []
    for level in levels:
        keys = [level.number[at], free_in(level, room, rows)[level.number[at]], *keys]
    order = np.lexsort(keys)
    return [number for number in numbers[order].tolist() if number != NOT_IN_ANY]
