"""Rows of accepted nodes follow the Node objects."""

from __future__ import annotations

from dataclasses import replace

from extender.cluster.picture import Picture
from extender.model.constraint import ANYWHERE, Constraint
from extender.model.names import NodeName
from extender.model.node import Node
from tests.builders import node

EAST = Constraint(selector=(("zone", "east"),))


def labelled(name: str, zone: str) -> Node:
    return replace(node(name), labels=(("zone", zone),))


def accepted(picture: Picture, constraint: Constraint) -> set[str]:
    row = picture.allowed.row(constraint)
    return {name for name, at in picture.table.row_of.items() if row[at]}


def test_rows_follow_the_nodes() -> None:
    picture = Picture()
    picture.upsert_node(labelled("n1", "east"))
    picture.upsert_node(labelled("n2", "west"))
    assert accepted(picture, EAST) == {"n1"}
    assert accepted(picture, ANYWHERE) == {"n1", "n2"}
    picture.upsert_node(labelled("n2", "east"))
    for at in range(100):
        picture.upsert_node(labelled(f"m{at}", "west"))
    assert accepted(picture, EAST) == {"n1", "n2"}
    picture.delete_node(NodeName("n1"))
    picture.upsert_node(labelled("n9", "east"))  # takes the row that became vacant
    assert accepted(picture, EAST) == {"n2", "n9"}


def test_an_unschedulable_node_accepts_nobody() -> None:
    picture = Picture()
    picture.upsert_node(labelled("n1", "east"))
    assert accepted(picture, ANYWHERE) == {"n1"}
    picture.upsert_node(replace(labelled("n1", "east"), schedulable=False))
    assert accepted(picture, ANYWHERE) == set()
