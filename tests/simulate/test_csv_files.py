"""Trace CSVs: what is read, and what is said when it cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from extender.errors import ConfigError
from extender.model.gpu import GpuRequest
from extender.simulate import csv_files, inputs
from extender.simulate.workload import Accepts
from tests.simulate.files import NODE_HEADER, POD_HEADER, csv, nodes_csv, pods_csv


def test_nodes(tmp_path: Path) -> None:
    (one,) = csv_files.read_nodes(nodes_csv(tmp_path, "n1,64000,262144,2,P100"))
    node = one.node
    assert (node.name, node.cpu_milli, node.memory_mib, node.gpus, node.gpu_product) == ("n1", 64000, 262144, 2, "P100")


def test_pods(tmp_path: Path) -> None:
    lines = ("a,6000,12288,1,460,", "b,1,2,8,1000,T4|P100", "c,8000,3,0,0,", "", "d,0,0,1,1000,")
    tasks = csv_files.read_pods(pods_csv(tmp_path, *lines))
    assert [one.gpu for one in tasks] == [
        GpuRequest(1, share_milli=460),
        GpuRequest(8),
        GpuRequest(),
        GpuRequest(1),
    ]
    assert tasks[1].accepts == Accepts(frozenset({"T4", "P100"}))
    assert (tasks[0].cpu_milli, tasks[0].memory_mib) == (6000, 12288)


def test_a_file_without_gpu_spec_and_with_a_byte_order_mark_and_other_columns(tmp_path: Path) -> None:
    path = tmp_path / "pods.csv"
    path.write_text("name,qos,cpu_milli,memory_mib,num_gpu,gpu_milli\r\np,LS,1,2,1,500\r\n", encoding="utf-8-sig")
    (one,) = csv_files.read_pods(path)
    assert (one.name, one.gpu, one.accepts) == ("p", GpuRequest(1, share_milli=500), Accepts())


WRONG_PODS = {
    "not a number": ("p,1,2,one,500,", "line 2, column num_gpu: 'one' is not a whole number from 0 to 256"),
    "not whole": ("p,1.5,2,1,500,", "line 2, column cpu_milli: '1.5' is not a whole number, 0 or more"),
    "below zero": ("p,1,-2,1,500,", "line 2, column memory_mib: '-2' is not a whole number, 0 or more"),
    "empty": ("p,1,2,1,,", "line 2, column gpu_milli: '' is not a whole number from 1 to 1000"),
    "above a GPU": ("p,1,2,1,1001,", "line 2, column gpu_milli: '1001' is not a whole number from 1 to 1000"),
    "none of a GPU": ("p,1,2,1,0,", "line 2, column gpu_milli: '0' is not a whole number from 1 to 1000"),
    "a share of none": ("p,1,2,0,500,", "line 2, column gpu_milli: 500 of no GPU; must be 0 when num_gpu is 0"),
    "digits of another script": ("p,1,2,1,٥٠٠,", "line 2, column gpu_milli: '٥٠٠' is not a whole number"),
    "no name": (",1,2,1,500,", "line 2, column name: is empty; a name is needed"),
    "too few cells": ("p,1,2", "line 2: 3 cells under 6 columns"),
    "too many": ("p,1,2,1,500,,x", "line 2: 7 cells under 6 columns"),
}


@pytest.mark.parametrize(("line", "sentence"), WRONG_PODS.values(), ids=WRONG_PODS)
def test_wrong_pods(tmp_path: Path, line: str, sentence: str) -> None:
    path = pods_csv(tmp_path, line)
    with pytest.raises(ConfigError) as caught:
        csv_files.read_pods(path)
    assert str(caught.value).startswith(str(path))
    assert sentence in str(caught.value)


def test_the_line_is_that_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="line 4, column gpu"):
        csv_files.read_nodes(nodes_csv(tmp_path, "a,1,1,1,T4", "", "b,1,1,many,T4"))


def test_a_node_twice(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="line 3, column sn: node 'a' is on line 2 already"):
        csv_files.read_nodes(nodes_csv(tmp_path, "a,1,1,1,T4", "a,1,1,1,T4"))


def test_missing_columns(tmp_path: Path) -> None:
    path = csv(tmp_path / "p.csv", "name,cpu_milli,memory_mib,gpu_milli", "p,1,1,1")
    with pytest.raises(ConfigError, match=r"line 1: no column num_gpu; a CSV of pods has the columns name,cpu_milli"):
        csv_files.read_pods(path)


def test_swapped_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="are --nodes and --pods swapped"):
        csv_files.read_nodes(pods_csv(tmp_path, "p,1,1,1,500,"))


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        csv_files.read_nodes(tmp_path / "none.csv")
    with pytest.raises(ConfigError, match="no nodes below the header"):
        csv_files.read_nodes(nodes_csv(tmp_path))
    latin = tmp_path / "latin.csv"
    latin.write_bytes(NODE_HEADER.encode() + b"\n\xff,1,1,1,T4\n")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        csv_files.read_nodes(latin)
    empty = tmp_path / "empty.csv"
    empty.write_text("")
    with pytest.raises(ConfigError, match="line 1: no column sn, cpu_milli"):
        csv_files.read_nodes(empty)


def test_nothing_to_fill_and_nothing_to_fill_it_with(tmp_path: Path) -> None:
    pods = pods_csv(tmp_path, "p,1,1,1,500,")
    with pytest.raises(ConfigError, match="the 1 nodes have no GPU"):
        inputs.load(nodes_csv(tmp_path, "a,1,1,0,"), pods, print)
    cpu_only = csv(tmp_path / "cpu.csv", POD_HEADER, "p,1,1,0,0,")
    with pytest.raises(ConfigError, match="none of the 1 pods asks for a GPU"):
        inputs.load(nodes_csv(tmp_path, "a,1,1,1,T4"), cpu_only, print)


def test_a_kind_of_file_that_nobody_reads(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"a file of kind '\.xlsx'; \.csv, \.json"):
        inputs.load(tmp_path / "nodes.xlsx", tmp_path / "pods.csv", print)
