"""`runai-scheduler demo` as a user starts it: a process, its output, its exit code."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import orjson
import pytest

from extender.cli.demo_report import is_undecided, missing_pods, not_running
from extender.cli.demo_view import draw
from extender.emulator.cluster import EmbeddedCluster

Json = dict[str, Any]

COMMAND = Path(sys.executable).parent / "runai-scheduler"
PROJECT = "apiVersion: run.ai/v1\nkind: Project\nmetadata: {name: team-b}\nspec: {deservedGpus: 8}\n"


def pod(name: str, gpus: int, annotations: str = "") -> str:
    return (
        "apiVersion: v1\nkind: Pod\n"
        f"metadata: {{name: {name}, namespace: runai-team-b, annotations: {{{annotations}}}}}\n"
        "spec:\n  schedulerName: runai-scheduler\n"
        f"  containers: [{{name: c, image: i, resources: {{limits: {{nvidia.com/gpu: {gpus}}}}}}}]\n"
    )


def start(*args: str, tmp_path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [COMMAND, "demo", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path), "COLUMNS": "120"},
        text=True,
    )


def demo(*args: str, tmp_path: Path) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of a demo that ends by itself."""
    with start(*args, tmp_path=tmp_path) as process:
        try:
            out, err = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return process.returncode, out, err


def gates_of_a_new_pod(address: str) -> object:
    """What a pod of ours would be created with, by the API server at this address."""
    obj = {
        "metadata": {"name": "new"},
        "spec": {"schedulerName": "runai-scheduler", "containers": [{"name": "c", "image": "i"}]},
    }
    request = urllib.request.Request(
        f"{address}/api/v1/namespaces/runai-team-a/pods?dryRun=All",
        data=orjson.dumps(obj),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as reply:
        return orjson.loads(reply.read())["spec"]["schedulingGates"]


def write(path: Path, *documents: str) -> str:
    path.write_text("---\n".join(documents))
    return str(path)


def test_once_json_prints_one_object_in_which_everything_runs(tmp_path: Path) -> None:
    code, out, err = demo("--once", "--json", tmp_path=tmp_path)
    assert (code, err) == (0, "")
    report = orjson.loads(out)
    assert list(report) == ["pods", "gpus", "settled_s"]
    pods = {re.sub(r"-[a-z0-9]{5}$", "", one["name"]): one for one in report["pods"]}
    assert sorted(pods) == ["build-1-0", "half", "quarter-1", "quarter-2", "train-1"]
    assert list(pods["train-1"]) == [
        "namespace",
        "name",
        "phase",
        "node",
        "devices",
        "gpu_group",
        "project",
        "pod_group",
        "reason",
    ]
    assert {one["phase"] for one in pods.values()} == {"Running"}
    assert {one["project"] for one in pods.values()} == {"team-a"}
    assert pods["train-1"]["pod_group"] == "group-train-1"
    assert re.fullmatch(r"pg-half-[0-9a-f-]{36}", pods["half"]["pod_group"])  # made for it, as on a cluster
    assert len(pods["train-1"]["devices"]) == 2
    shared = [gpu for gpu in report["gpus"] if len(gpu["sharers"]) > 1]
    assert shared == [
        {
            "node": pods["half"]["node"],
            "device": pods["half"]["devices"][0],
            "allocated_milli": 1000,
            "sharers": ["runai-team-a/half", "runai-team-a/quarter-1", "runai-team-a/quarter-2"],
        }
    ]
    assert len({pods[name]["gpu_group"] for name in ("half", "quarter-1", "quarter-2")}) == 1
    assert len(report["gpus"]) == 12
    assert sum(gpu["allocated_milli"] for gpu in report["gpus"]) == 4000
    assert list(tmp_path.iterdir()) == []


def test_what_does_not_fit_is_exit_code_1_with_its_reason(tmp_path: Path) -> None:
    file = write(tmp_path / "mine.yaml", pod("big", 4), pod("fits", 2), PROJECT)
    code, out, err = demo("--once", "--json", "--nodes", "1", "--gpus-per-node", "2", "-f", file, tmp_path=tmp_path)
    pods = {one["name"]: one for one in orjson.loads(out)["pods"]}
    assert code == 1
    assert (pods["fits"]["phase"], pods["fits"]["reason"]) == ("Running", None)
    assert (pods["big"]["phase"], pods["big"]["node"], pods["big"]["devices"]) == ("Pending", None, [])
    assert pods["big"]["reason"]
    assert err == f"runai-team-b/big is Pending: {pods['big']['reason']}\n"


def test_pods_of_the_system_itself_are_not_shown(tmp_path: Path) -> None:
    own = pod("own", 1).replace("runai-team-b", "runai").replace("spec:", "spec:\n  nodeName: node-0")
    file = write(tmp_path / "mine.yaml", PROJECT, pod("fits", 1), own)
    code, out, _ = demo("--once", "--json", "--nodes", "1", "-f", file, tmp_path=tmp_path)
    assert (code, [one["name"] for one in orjson.loads(out)["pods"]]) == (0, ["fits"])


def test_a_pod_that_will_end_is_waited_for(tmp_path: Path) -> None:
    first = pod("first", 2, 'emulator.run.ai/run-seconds: "1.5"')
    file = write(tmp_path / "mine.yaml", PROJECT, first, pod("second", 2))
    code, out, _ = demo("--once", "--json", "--nodes", "1", "--gpus-per-node", "2", "-f", file, tmp_path=tmp_path)
    assert code == 0
    assert [(one["name"], one["phase"]) for one in orjson.loads(out)["pods"]] == [
        ("first", "Succeeded"),
        ("second", "Running"),
    ]


def test_once_without_json_is_for_people(tmp_path: Path) -> None:
    code, out, err = demo("--once", tmp_path=tmp_path)
    assert (code, err) == (0, "")
    assert "train-1" in out
    assert "██████████  runai-team-a/half  runai-team-a/quarter-1  runai-team-a/quarter-2" in out
    assert "Settled after" in out


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [", "not YAML"),
        ("- 1", "document 1: not an object but a list"),
        (PROJECT + "---\nkind: Pod", "document 2: apiVersion is missing"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {}", "document 1: metadata.name is missing"),
        ("# nothing", "holds no object"),
        (pod("p", 1).replace("image", "imaje").replace("runai-team-b", "default"), 'unknown field "spec.containers'),
        ("apiVersion: run.ai/v1\nkind: Projekt\nmetadata: {name: x}", "(Projekt x): the server has no kind Projekt"),
        (PROJECT + "---\n" + pod("p", 1, 'gpu-fraction: "2"'), 'webhook "pods.admission.run.ai" denied the request'),
        (pod("p", 1), '(Pod runai-team-b/p): POST /api/v1/namespaces/runai-team-b/pods: 404 namespaces "runai-team-b"'),
    ],
    ids=["yaml", "list", "apiVersion", "name", "empty", "strict", "kind", "webhook", "namespace"],
)
def test_a_bad_file_is_a_sentence_and_exit_code_2(tmp_path: Path, text: str, says: str) -> None:
    file = write(tmp_path / "bad.yaml", text)
    code, out, err = demo("--once", "--json", "-f", file, tmp_path=tmp_path)
    assert (code, out) == (2, "")
    assert err.startswith(f"runai-scheduler demo: {file}")
    assert says in err
    assert "Traceback" not in err


def test_a_missing_file_and_json_alone_are_refused(tmp_path: Path) -> None:
    code, _, err = demo("-f", "/nowhere.yaml", tmp_path=tmp_path)
    assert (code, "/nowhere.yaml: cannot be read" in err) == (2, True)
    code, _, err = demo("--json", tmp_path=tmp_path)
    assert (code, err) == (2, "runai-scheduler demo: --json needs --once: a live view is not one JSON object\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_it_is_told_to_stop_and_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    with start(tmp_path=tmp_path) as process:
        try:
            assert process.stdout is not None
            seen = ""
            for line in process.stdout:
                seen += line
                if "Ctrl-C stops everything." in line:
                    break
            found = re.search(r"kubectl --kubeconfig (\S+) get pods -A", seen)
            assert found is not None, seen
            assert Path(found[1]).is_relative_to(tmp_path)
            address = re.search(r"http://127\.0\.0\.1:\d+", Path(found[1]).read_text())
            assert address is not None
            assert gates_of_a_new_pod(address[0]) == [{"name": "run.ai/queued"}]
            process.send_signal(number)
            _, err = process.communicate(timeout=10)
        finally:
            process.kill()
    assert (process.returncode, err) == (0, "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("gates", "reason", "undecided"),
    [
        (["run.ai/queued"], None, True),
        (["run.ai/queued"], "NotEnoughResources", False),
        (["run.ai/queued", "example.com/theirs"], None, False),
        (["example.com/theirs"], None, False),
        ([], None, False),
    ],
    ids=["to be planned", "told why", "theirs too", "theirs alone", "for kube-scheduler"],
)
def test_a_pod_behind_our_gate_waits_until_it_is_told_why(
    gates: list[str], reason: str | None, undecided: bool
) -> None:
    gated = {"spec": {"schedulingGates": [{"name": name} for name in gates]}}
    assert is_undecided(gated, {"reason": reason}) is undecided
    assert is_undecided({"spec": {}}, {}) is False


async def test_workloads_without_their_pods_are_named() -> None:
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "j"},
        "spec": {
            "parallelism": 2,
            "completions": 2,
            "template": {
                "spec": {
                    "restartPolicy": "Never",
                    "priorityClassName": "unheard-of",
                    "containers": [{"name": "c", "image": "i"}],
                }
            },
        },
    }
    async with EmbeddedCluster(nodes=1) as cluster:
        await cluster.apply([job])
        assert await missing_pods(cluster.client) == ["Job default/j has 0 of 2 pods"]
        await cluster.client.patch("/apis/batch/v1/namespaces/default/jobs/j", {"spec": {"suspend": True}})
        assert await missing_pods(cluster.client) == []


def test_finished_pods_need_not_run() -> None:
    pods = [
        {"namespace": "n", "name": phase.lower(), "phase": phase, "reason": None}
        for phase in ("Running", "Succeeded", "Failed", "Pending")
    ]
    assert not_running({"pods": pods}) == ["n/pending is Pending: no reason is known"]


def test_many_free_gpus_are_counted_instead_of_drawn() -> None:
    from rich.console import Console

    gpus = [
        {"node": f"node-{number}", "device": device, "allocated_milli": 0, "sharers": []}
        for number in range(100)
        for device in range(8)
    ]
    gpus[0] |= {"allocated_milli": 500, "sharers": ["n/p"]}
    console = Console(width=100)
    with console.capture() as captured:
        console.print(draw({"pods": [], "gpus": gpus}))
    text = captured.get()
    assert "█████░░░░░  n/p" in text
    assert "99 more" in text
    assert "792 free" in text
    assert len(text.splitlines()) < 20
