"""Stock kubectl against the API server: what a user types in the first five minutes."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import textwrap
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import orjson
import pytest

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")


class Result(NamedTuple):
    code: int
    out: str
    err: str


Kubectl = Callable[..., Awaitable[Result]]

GANG_FILE = """
    apiVersion: test.local/v1
    kind: Gang
    metadata:
      name: g
    labels:
      user: someone
    spec:
      size: 4
"""

JOB_FILE = """
    apiVersion: batch/v1
    kind: Job
    metadata:
      name: train
    spec:
      template:
        metadata:
          annotations: {scheduling.k8s.io/group-name: g}
        spec:
          containers:
          - name: gpu
            image: registry.local/train:1
            resources: {limits: {nvidia.com/gpu: 1}}
          restartPolicy: Never
          schedulerName: runai-scheduler
"""

POD_FILE = """
    apiVersion: v1
    kind: Pod
    metadata: {name: p, labels: {app: x}}
    spec:
      schedulingGates: [{name: test.local/wait}]
      containers: [{name: c, image: "registry.local/c:1"}]
"""


@pytest.fixture
def kubectl(server, tmp_path: Path) -> Kubectl:
    """Run kubectl with a kubeconfig and a cache of its own; `stdin` feeds `-f -`."""
    config = tmp_path / "kubeconfig"
    server.write_kubeconfig(config)
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "KUBECONFIG": str(config)}

    async def run(*arguments: str, stdin: str = "", fails: bool = False) -> Result:
        process = await asyncio.create_subprocess_exec(
            "kubectl",
            *arguments,
            env=environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(30):
            out, err = await process.communicate(textwrap.dedent(stdin).encode())
        result = Result(process.returncode or 0, out.decode(), err.decode())
        assert (result.code != 0) is fails, result
        return result

    return run


@pytest.fixture
async def gang(api, crd) -> None:
    """The definition of Gang."""
    body = crd(size={"type": "integer", "minimum": 1, "description": "How many pods must run at once."})
    await api.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", body)


async def test_the_seeds_file_round_trip(kubectl: Kubectl, gang: None) -> None:
    files = JOB_FILE + "    ---" + GANG_FILE
    applied = await kubectl("apply", "-f", "-", stdin=files)
    assert applied.out == "job.batch/train created\ngang.test.local/g created\n"
    again = await kubectl("apply", "-f", "-", stdin=files)
    assert again.out.splitlines()[1] == "gang.test.local/g unchanged"
    stored = orjson.loads((await kubectl("get", "gang", "g", "-o", "json")).out)
    assert stored["labels"] == {"user": "someone"}
    changed = await kubectl("apply", "-f", "-", stdin=GANG_FILE.replace("size: 4", "size: 5"))
    assert changed.out == "gang.test.local/g configured\n"
    deleted = await kubectl("delete", "-f", "-", stdin=files)
    assert deleted.out == 'job.batch "train" deleted\ngang.test.local "g" deleted\n'


async def test_unknown_fields_are_refused_by_default(kubectl: Kubectl, gang: None) -> None:
    refused = await kubectl("apply", "-f", "-", stdin=GANG_FILE + "      foo: 1\n", fails=True)
    assert 'strict decoding error: unknown field "spec.foo"' in refused.err
    refused = await kubectl("create", "-f", "-", stdin=POD_FILE + "      schedulername: x\n", fails=True)
    assert 'Pod in version "v1" cannot be handled as a Pod: strict decoding error: unknown field' in refused.err
    warned = await kubectl("apply", "--validate=warn", "-f", "-", stdin=GANG_FILE + "      foo: 1\n")
    assert 'Warning: unknown field "spec.foo"' in warned.err


async def test_invalid_values_are_explained(kubectl: Kubectl, gang: None) -> None:
    refused = await kubectl("apply", "-f", "-", stdin=GANG_FILE.replace("size: 4", "size: 0"), fails=True)
    assert 'The Gang "g" is invalid: spec.size: Invalid value: 0' in refused.err


async def test_a_definition_and_its_object_in_two_steps(kubectl: Kubectl, crd) -> None:
    definition = orjson.dumps(crd()).decode()
    await kubectl("apply", "-f", "-", stdin=definition)
    await kubectl("wait", "--for=condition=Established", "crd/gangs.test.local", "--timeout=5s")
    assert (await kubectl("get", "gg")).err == "No resources found in default namespace.\n"


async def test_explain(kubectl: Kubectl, gang: None) -> None:
    assert "How many pods must run at once." in (await kubectl("explain", "gang.spec.size")).out
    assert "FIELD: spec <Object>" in (await kubectl("explain", "gangs.spec")).out
    assert "FIELD: schedulingGates <[]PodSchedulingGate>" in (await kubectl("explain", "pod.spec.schedulingGates")).out
    assert re.search(r"backoffLimit\s+<integer>", (await kubectl("explain", "job.spec")).out)


async def test_what_is_listed(kubectl: Kubectl, gang: None) -> None:
    resources = (await kubectl("api-resources", "--no-headers")).out
    assert re.search(r"^gangs\s+gg\s+test.local/v1\s+true\s+Gang$", resources, re.MULTILINE)
    assert re.search(r"^pods\s+po\s+v1\s+true\s+Pod$", resources, re.MULTILINE)
    assert "test.local/v1" in (await kubectl("api-versions")).out
    assert "v1.36.0" in (await kubectl("version", "-o", "yaml")).out


async def test_get_as_tables(kubectl: Kubectl, gang: None) -> None:
    await kubectl("apply", "-f", "-", stdin=POD_FILE + "    ---" + GANG_FILE)
    lines = (await kubectl("get", "pods", "-o", "wide", "--show-labels")).out.splitlines()
    assert re.split(r"\s{2,}", lines[0]) == [
        "NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE", "NOMINATED NODE", "READINESS GATES", "LABELS",
    ]  # fmt: skip
    assert lines[1].split()[:3] == ["p", "0/1", "SchedulingGated"]
    lines = (await kubectl("get", "gangs")).out.splitlines()
    assert lines[0].split() == ["NAME", "SIZE", "READY", "AGE"]
    assert lines[1].split()[:2] == ["g", "4"]
    assert "pod/p" in (await kubectl("get", "all")).out
    missing = await kubectl("get", "pod", "absent", fails=True)
    assert missing.err == 'Error from server (NotFound): pods "absent" not found\n'


async def test_describe(kubectl: Kubectl, api, pod) -> None:
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "n1"},
        "status": {"allocatable": {"cpu": "8", "nvidia.com/gpu": "8"}, "capacity": {"cpu": "8", "nvidia.com/gpu": "8"}},
    }
    await api.create("/api/v1/nodes", node)
    pods = "/api/v1/namespaces/default/pods"
    created = await api.create(pods, pod("bound", nodeName="n1", resources={"limits": {"nvidia.com/gpu": 2}}))
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "e"},
        "involvedObject": {"kind": "Pod", "name": "bound", "namespace": "default", "uid": created["metadata"]["uid"]},
        "reason": "Placed",
        "message": "took device 0 and 1",
        "type": "Normal",
    }
    await api.create("/api/v1/namespaces/default/events", event)
    described = (await kubectl("describe", "pod", "bound")).out
    assert re.search(r"Node:\s+n1", described)
    assert "took device 0 and 1" in described
    described = (await kubectl("describe", "node", "n1")).out
    assert re.search(r"nvidia.com/gpu\s+2\s+2", described)
    await kubectl("apply", "-f", "-", stdin=JOB_FILE)
    assert "Pods Statuses:" in (await kubectl("describe", "job", "train")).out
    assert "Placed" in (await kubectl("get", "events")).out


async def test_changes(kubectl: Kubectl, gang: None) -> None:
    await kubectl("apply", "-f", "-", stdin=POD_FILE + "    ---" + GANG_FILE)
    await kubectl("label", "pod", "p", "team=a")
    await kubectl("annotate", "pod", "p", "note=x")
    await kubectl("patch", "pod", "p", "-p", '{"metadata":{"labels":{"app":null}}}')
    await kubectl("patch", "pod", "p", "--type=json", "-p", '[{"op":"remove","path":"/spec/schedulingGates/0"}]')
    labels = await kubectl("get", "pod", "p", "-o", "jsonpath={.metadata.labels} {.metadata.annotations.note}")
    assert labels.out == '{"team":"a"} x'
    await kubectl("patch", "gang", "g", "--type=merge", "-p", '{"spec":{"size":7}}')
    status = '{"status":{"conditions":[{"type":"Ready","status":"True"}]}}'
    await kubectl("patch", "gang", "g", "--subresource=status", "--type=merge", "-p", status)
    await kubectl("wait", "--for=condition=Ready", "gang/g", "--timeout=5s")
    applied = await kubectl("apply", "--server-side", "-f", "-", stdin=GANG_FILE)
    assert applied.out == "gang.test.local/g serverside-applied\n"
    assert (await kubectl("get", "gang", "g", "-o", "jsonpath={.spec.size}")).out == "4"


async def test_scale_and_dry_run(kubectl: Kubectl) -> None:
    build = """
        apiVersion: apps/v1
        kind: StatefulSet
        metadata: {name: build}
        spec:
          selector: {matchLabels: {a: b}}
          template:
            metadata: {labels: {a: b}}
            spec: {containers: [{name: c, image: "registry.local/c:1"}]}
    """
    dry = await kubectl("apply", "--dry-run=server", "-f", "-", stdin=build)
    assert dry.out == "statefulset.apps/build created (server dry run)\n"
    assert (await kubectl("get", "sts")).out == ""
    await kubectl("create", "-f", "-", stdin=build)
    assert (await kubectl("scale", "sts", "build", "--replicas=3")).out == "statefulset.apps/build scaled\n"
    assert (await kubectl("get", "sts", "--no-headers")).out.split()[:2] == ["build", "0/3"]


async def test_namespaces_nodes_and_generators(kubectl: Kubectl, api) -> None:
    await kubectl("create", "namespace", "runai-team-a")
    await kubectl("create", "configmap", "c", "--from-literal=a=b", "-n", "runai-team-a")
    await kubectl("create", "secret", "generic", "s", "--from-literal=a=b")
    await kubectl("create", "priorityclass", "train", "--value=50")
    assert (await api.get("/api/v1/namespaces/default/secrets/s"))["data"] == {"a": "Yg=="}
    await api.create("/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}})
    await kubectl("cordon", "n1")
    await kubectl("taint", "node", "n1", "gpu=true:NoSchedule")
    assert "SchedulingDisabled" in (await kubectl("get", "nodes")).out
    await kubectl("delete", "namespace", "runai-team-a")


async def test_watching_and_waiting_for_the_end(kubectl: Kubectl, api, pod) -> None:
    await kubectl("apply", "-f", "-", stdin=POD_FILE)
    watching = asyncio.create_task(kubectl("get", "pods", "-w", "--request-timeout=3s"))
    await asyncio.sleep(1)
    await api.delete("/api/v1/namespaces/default/pods/p")
    await api.create("/api/v1/namespaces/default/pods", pod("second"))
    seen = (await watching).out
    assert "second" in seen
    assert seen.splitlines()[0].split()[0] == "NAME"
    assert (await kubectl("delete", "pod", "second")).out == 'pod "second" deleted\n'


async def test_evicting_by_drain(kubectl: Kubectl, api, pod) -> None:
    await api.create("/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}})
    await api.create("/api/v1/namespaces/default/pods", pod("p", nodeName="n1"))
    draining = asyncio.create_task(kubectl("drain", "n1", "--force", "--timeout=10s"))
    watch = await api.watch("/api/v1/namespaces/default/pods")
    await watch.take(1)
    # As the API server does it: first why the pod goes, then that it goes.
    told = (await watch.next())[1]
    assert [one["type"] for one in told["status"]["conditions"] if one["status"] == "True"] == ["DisruptionTarget"]
    assert "deletionTimestamp" not in told["metadata"]
    assert (await watch.next())[1]["metadata"]["deletionGracePeriodSeconds"] == 30
    # The kubelet's last word.
    await api.delete("/api/v1/namespaces/default/pods/p", gracePeriodSeconds="0")
    assert "node/n1 drained" in (await draining).out
