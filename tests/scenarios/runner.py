"""Plays a scenario file on a cluster.

    title, why      what it shows, and why it matters
    needs           abilities of the cluster (`pause_api`, `faults`, `kube_scheduler`) without which it is left out
    environment     of the extender, such as RUNAI_PLACEMENT__ANSWER
    nodes           [{count, and the fields of emulator.nodes.NodeShape}]
    projects        name → spec;  departments: name → spec
    steps           a list of one-key mappings, in order: the methods `_step_<key>` below

Whatever the steps say, every scenario ends with `settled`: everything that fits is bound, the books are the
recount's, nothing is over-committed, nothing is left reserved, and the extender's log has no error in it.
Nothing sleeps for a result: conditions are polled until a generous deadline.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from extender.emulator.kubelet import RUN_SECONDS
from extender.emulator.nodes import NodeShape, add_nodes
from extender.errors import ApiError, ConflictError, NotFoundError
from tests.scenarios import pods as shorthand
from tests.scenarios.cluster import Cluster
from tests.scenarios.process import Extender
from tests.scenarios.recount import Recount

Json = dict[str, Any]

HERE = Path(__file__).parent

_TOP = frozenset(["title", "why", "needs", "environment", "nodes", "projects", "departments", "steps"])
_WITHIN_S = 45.0
_POLL_S = 0.2
_AT_ONCE = 8
_SHOWN = 12


def files(abilities: frozenset[str]) -> list[Path]:
    """The scenarios that a cluster with these abilities can play."""
    every = sorted(HERE.glob("*.yaml"))
    return [file for file in every if abilities.issuperset(load(file).get("needs") or ())]


def load(file: Path) -> Json:
    """The scenario. Raises ValueError when it has a key or step that does not exist."""
    scenario: Json = yaml.safe_load(file.read_text())
    unknown = scenario.keys() - _TOP
    if unknown:
        raise ValueError(f"{file.name}: unknown keys {sorted(unknown)}")
    for step in scenario["steps"]:
        (key,) = step
        if not hasattr(Run, f"_step_{key}"):
            raise ValueError(f"{file.name}: there is no step `{key}`")
    return scenario


async def run(scenario: Json, cluster: Cluster, *, extender_port: int | None = None) -> None:
    """Play it from an empty cluster; leaves what it made. Raises AssertionError that says what was not so."""
    play = Run(scenario, cluster, extender_port)
    try:
        await play.play()
    finally:
        await play.close()


class Run:
    """One scenario under way."""

    def __init__(self, scenario: Json, cluster: Cluster, extender_port: int | None) -> None:
        self._scenario = scenario
        self._cluster = cluster
        self._client = cluster.client
        self.extender = Extender(
            cluster.kubeconfig,
            cluster.directory / f"extender-{time.monotonic_ns()}.log",
            port=extender_port,
            environment=scenario.get("environment"),
        )
        self._background: list[asyncio.Task[None]] = []
        self._said: list[str] = []
        self._last_seen = ""

    async def play(self) -> None:
        await self.extender.start()
        await self._cluster.start_scheduler(self.extender.url)
        await self.furnish()
        for step in self._scenario["steps"]:
            ((key, value),) = step.items()
            await self.step(key, value)
        await self.step("join", None)
        await self.step("settled", None)
        woken = int((await self.extender.metrics()).get("runai_pods_woken_total", 0))
        self._note(f"{await self.extender.decisions('filter')} filter calls, {woken} pods woken since it started")
        assert not self.extender.complaints(), f"errors in the log: {self.extender.complaints()[:3]}"

    async def furnish(self) -> None:
        """Nodes, departments, projects; returns when the projects have their namespaces."""
        for shape in self._scenario.get("nodes") or ():
            fields = dict(shape)
            await add_nodes(self._client, fields.pop("count"), NodeShape(**fields))
        await self._make("Department", self._scenario.get("departments") or {})
        await self._make("Project", self._scenario.get("projects") or {})
        for project in self._scenario.get("projects") or {}:
            await self._until(lambda name=project: self._has_namespace(name), 15.0)

    async def step(self, key: str, value: Any) -> None:
        """Play one step. Raises AssertionError with the history of all before it."""
        started = time.monotonic()
        try:
            await getattr(self, f"_step_{key}")(value)
        except AssertionError as error:
            history = "\n".join(self._said)
            raise AssertionError(
                f"step {key}: {error}\n{history}\nthe extender's log ends:\n{self.extender.tail(30)}"
            ) from error
        self._note(f"step {key}: {time.monotonic() - started:.2f} s")

    def _note(self, text: str) -> None:
        """For whoever reads a failure (or `pytest -rP`)."""
        self._said.append(text)
        print(text)

    async def close(self) -> None:
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self.extender.close()

    # ------------------------------------------------------------------------------------- things that happen

    async def _step_apply(self, value: Json) -> None:
        """{manifest: FILE | objects: […], namespace, replace: {text: text}}: kubectl apply."""
        text = (HERE / "manifests" / value["manifest"]).read_text() if "manifest" in value else ""
        if "objects" in value:
            text = "\n---\n".join(yaml.safe_dump(one) for one in value["objects"])
        for placeholder, word in (value.get("replace") or {}).items():
            text = text.replace(placeholder, str(word))
        await self._cluster.apply(text, namespace=value.get("namespace", "default"))

    async def _step_pods(self, value: list[Json]) -> None:
        """[short pod, …] of `pods.pod`: created one after the other."""
        for pod in shorthand.expand(value):
            await self._create(pod)

    async def _step_generate(self, value: Json) -> None:
        """{count, seed, projects}: random pods, created eight at a time while the next steps run."""
        made = list(shorthand.mixed(value["count"], value["seed"], value["projects"]))
        self._background.append(asyncio.create_task(self._create_all(made)))

    async def _step_burst(self, value: list[Json]) -> None:
        """As `pods`, eight at a time while the next steps run."""
        self._background.append(asyncio.create_task(self._create_all(list(shorthand.expand(value)))))

    async def _step_storm(self, value: Json) -> None:
        """{pods: [short], rounds, pause_s}: delete and make again under the same names, while they are bound."""
        made = list(shorthand.expand(value["pods"]))

        async def again(pod: Json, number: int) -> None:
            for turn in range(value["rounds"]):
                # Uneven on purpose: deletions meet pods before filter, between filter and bind, and after it.
                await asyncio.sleep(value.get("pause_s", 0.1) * ((number + turn) % 5) / 4)
                await self._delete(pod["metadata"]["namespace"], pod["metadata"]["name"], grace_s=0)
                await self._create(pod)

        await self._create_all(made)
        async with asyncio.TaskGroup() as tasks:
            for number, pod in enumerate(made):
                tasks.create_task(again(pod, number))

    async def _step_delete(self, value: Json) -> None:
        """{pods: [ns/name, …]}, or {every: N}: every Nth pod of the project namespaces, by name."""
        keys = [key.split("/") for key in value.get("pods", ())]
        if "every" in value:
            found, _ = await self._client.list("/api/v1/pods")
            names = sorted((pod["metadata"]["namespace"], pod["metadata"]["name"]) for pod in found)
            keys.extend(list(pair) for pair in names[:: value["every"]])
        for namespace, name in keys:
            await self._delete(namespace, name)

    async def _step_patch(self, value: Json) -> None:
        """{path, patch}: a merge patch."""
        await self._client.patch(value["path"], value["patch"])

    async def _step_finish(self, value: Json) -> None:
        """{pod: ns/name*}: its containers end by themselves, with success."""
        pods, _ = await self._client.list("/api/v1/pods")
        prefix = value["pod"].rstrip("*")
        for namespace, name in ((pod["metadata"]["namespace"], pod["metadata"]["name"]) for pod in pods):
            if f"{namespace}/{name}".startswith(prefix):
                patch = {"metadata": {"annotations": {RUN_SECONDS: "0"}}}
                await self._client.patch(f"/api/v1/namespaces/{namespace}/pods/{name}", patch)

    async def _step_kill_extender(self, _: None) -> None:
        """kill -9."""
        await self.extender.kill()

    async def _step_stop_extender(self, _: None) -> None:
        """SIGTERM, and an exit status of 0."""
        status = await self.extender.stop()
        assert status == 0, f"the extender ended with {status} after SIGTERM"

    async def _step_start_extender(self, _: None) -> None:
        await self.extender.start()

    async def _step_restart_scheduler(self, _: None) -> None:
        await self._cluster.stop_scheduler()
        await self._cluster.start_scheduler(self.extender.url)

    async def _step_pause_api(self, value: Json) -> None:
        """{seconds}: the API server stands still."""
        await self._cluster.pause_api(value["seconds"])

    async def _step_faults(self, value: Json) -> None:
        """{method: {arguments}, …} of the embedded API server's script of faults."""
        for method, arguments in value.items():
            self._cluster.fault(method, arguments or {})

    async def _step_join(self, _: None) -> None:
        """Wait for `generate` and `burst`."""
        tasks, self._background = self._background, []
        await asyncio.gather(*tasks)

    # ------------------------------------------------------------------------------------- things that are so

    async def _step_bound(self, value: Json) -> None:
        """{at_least: N}: that many pods have been given a node."""

        async def enough() -> list[str]:
            pods, _ = await self._client.list("/api/v1/pods")
            found = sum(1 for pod in pods if pod["spec"].get("nodeName"))
            self._last_seen = f"{found} of {len(pods)} pods bound"
            return [] if found >= value["at_least"] else [f"{found} pods are bound, {value['at_least']} are due"]

        await self._until(enough, value.get("within", _WITHIN_S), every_s=0.02)
        self._note(f"  {self._last_seen}")

    async def _step_as_meant(self, value: int) -> None:
        """So many pods are on the very node that filter answered last (log level debug tells)."""
        meant = self.extender.answered_nodes()
        pods, _ = await self._client.list("/api/v1/pods")
        bound = {
            f"{pod['metadata']['namespace']}/{pod['metadata']['name']}": pod["spec"].get("nodeName") for pod in pods
        }
        elsewhere = {key: (node, meant.get(key)) for key, node in bound.items() if node and node != meant.get(key)}
        assert not elsewhere, f"bound to another node than was meant: {dict(list(elsewhere.items())[:_SHOWN])}"
        assert sum(1 for key, node in bound.items() if node and key in meant) == value

    async def _step_expect(self, value: Json) -> None:
        """{within: seconds, pods: {ns/name: {…}}, sharing: [[ns/name, …], …], objects: {path: {…}}}

        Of a pod: phase, node ("" = unbound), reason (in the snapshot), message (exact, our Event and the
        snapshot), scheduler_says (part of kube-scheduler's FailedScheduling event), annotations, labels (a null
        value: any). `ns/name*` takes the first pod whose name begins so. `sharing`: each list is together on one
        device, no two lists on the same. Of an object: fields that must be equal, as deep as they are given.
        """
        await self._until(lambda: self._expected(value), value.get("within", _WITHIN_S))

    async def _step_quiet(self, value: Json) -> None:
        """{seconds, filter_calls: N}: kube-scheduler asks at most so often, counted from the extender's start."""
        await asyncio.sleep(value["seconds"])
        calls = await self.extender.decisions("filter")
        assert calls <= value["filter_calls"], f"{calls} filter calls in {value['seconds']} s"

    async def _step_calm(self, value: Json) -> None:
        """{seconds}: return once kube-scheduler has asked for nothing for so long: only we can start a pod now."""
        calls, since = -1, time.monotonic()
        deadline = since + _WITHIN_S
        while time.monotonic() - since < value["seconds"]:
            assert time.monotonic() < deadline, f"filter is called again and again, {calls} times so far"
            await asyncio.sleep(_POLL_S)
            now = await self.extender.decisions("filter")
            if now != calls:
                calls, since = now, time.monotonic()

    async def _step_no_prioritize(self, _: None) -> None:
        calls = await self.extender.decisions("prioritize")
        assert calls == 0, f"prioritize was called {calls} times"

    async def _step_prioritize_was_asked(self, _: None) -> None:
        assert await self.extender.decisions("prioritize") > 0, "prioritize was never called"

    async def _step_settled(self, value: Json | None) -> None:
        """{within}: see the module."""
        await self._until(self._unsettled, (value or {}).get("within", 60.0))
        self._note(f"  {self._last_seen}")

    async def _unsettled(self) -> list[str]:
        recount = await self.recount()
        snapshot = await self.extender.snapshot()
        found = [*recount.problems, *snapshot["problems"], *snapshot["overcommitted"]]
        if snapshot["reservations"]:
            found.append(f"{snapshot['reservations']} reservations are left")
        reasons = {(one["namespace"], one["name"]): one["reason"] for one in snapshot["pods"]}
        for pod in recount.pending:
            namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
            due = (pod["metadata"].get("annotations") or {}).get(shorthand.EXPECT)
            if due is not None:
                reason = reasons.get((namespace, name))
                if reason not in due.split(","):
                    found.append(f"{namespace}/{name} is refused with {reason}, {due} is due")
            elif node := recount.could_place(pod):
                found.append(f"{namespace}/{name} is pending ({reasons.get((namespace, name))}) and fits on {node}")
        for pod in recount.bound + recount.finished:
            if shorthand.EXPECT in (pod["metadata"].get("annotations") or {}):
                found.append(f"{pod['metadata']['namespace']}/{pod['metadata']['name']} runs and must not")
            elif (pod.get("status") or {}).get("reason") in ("UnexpectedAdmissionError", "OutOfcpu", "OutOfmemory"):
                found.append(f"{pod['metadata']['name']}: its kubelet refused it: {pod['status'].get('message')}")
        for pod in recount.bound:
            if (pod.get("status") or {}).get("phase") == "Pending" or pod["metadata"].get("deletionTimestamp"):
                found.append(f"{pod['metadata']['name']} is on its way")
        self._last_seen = (
            f"{len(recount.bound)} bound, {len(recount.pending)} pending, {len(recount.finished)} finished"
        )
        return found or recount.differences(snapshot)

    async def recount(self) -> Recount:
        """From the API objects of this moment."""
        lists = {}
        for name, path in {
            "pods": "/api/v1/pods",
            "nodes": "/api/v1/nodes",
            "namespaces": "/api/v1/namespaces",
            "projects": "/apis/run.ai/v1/projects",
            "departments": "/apis/run.ai/v1/departments",
            "groups": "/apis/scheduling.incubator.k8s.io/v1alpha1/podgroups",
        }.items():
            lists[name], _ = await self._client.list(path)
        return Recount(**lists)

    # ------------------------------------------------------------------------------------------------ helpers

    async def _expected(self, value: Json) -> list[str]:
        found: list[str] = []
        listed, _ = await self._client.list("/api/v1/pods")
        by_key = {f"{pod['metadata']['namespace']}/{pod['metadata']['name']}": pod for pod in listed}
        snapshot = await self.extender.snapshot() if self.extender.is_running else {"pods": []}
        seen = {one["uid"]: one for one in snapshot["pods"]}
        for key, due in (value.get("pods") or {}).items():
            pod = by_key.get(key)
            if key.endswith("*"):
                pod = next((by_key[one] for one in sorted(by_key) if one.startswith(key[:-1])), None)
            if pod is None:
                found.append(f"pod {key} is not there")
            else:
                found.extend(f"pod {key}: {one}" for one in await self._differs(pod, due, seen))
        devices: list[tuple[str, str, str]] = []
        for together in value.get("sharing") or ():
            places = {_place(by_key.get(key)) for key in together}
            if len(places) != 1 or None in places:
                found.append(f"{together} share no device: {places}")
            devices.extend(place for place in places if place is not None)
        if not found and len(set(devices)) != len(devices):
            found.append(f"two lists of `sharing` are on one device: {devices}")
        for path, due in (value.get("objects") or {}).items():
            try:
                found.extend(f"{path}: {one}" for one in _unequal(await self._client.get(path), due, ""))
            except NotFoundError:
                found.append(f"{path} is not there")
        return found

    async def _differs(self, pod: Json, due: Json, seen: Mapping[str, Json]) -> list[str]:
        found: list[str] = []
        metadata, uid = pod["metadata"], pod["metadata"]["uid"]
        facts = {
            "phase": (pod.get("status") or {}).get("phase"),
            "node": pod["spec"].get("nodeName", ""),
            "reason": seen.get(uid, {}).get("reason"),
        }
        for key, wanted in due.items():
            if key in facts and facts[key] != wanted:
                found.append(f"{key} is {facts[key]!r}, {wanted!r} is due")
            elif key in ("annotations", "labels"):
                have = metadata.get(key) or {}
                found.extend(
                    f"{key} {name}: {have.get(name)!r}, {text!r} is due"
                    for name, text in wanted.items()
                    if name not in have or (text is not None and have[name] != text)
                )
            elif key == "message":
                events = await self._events(pod)
                said = [event["message"] for event in events if event["reason"] == due.get("reason")]
                if wanted not in said:
                    found.append(f"our Events say {said}, {wanted!r} is due")
                if seen.get(uid, {}).get("message") != wanted:
                    found.append(f"the snapshot says {seen.get(uid, {}).get('message')!r}, {wanted!r} is due")
            elif key == "scheduler_says":
                events = await self._events(pod)
                said = [event["message"] for event in events if event["reason"] == "FailedScheduling"]
                if not any(wanted in text for text in said):
                    found.append(f"FailedScheduling says {said}, {wanted!r} is due")
            elif key not in facts and key != "message":
                raise ValueError(f"unknown expectation {key}")
        return found

    async def _events(self, pod: Json) -> list[Json]:
        metadata = pod["metadata"]
        events, _ = await self._client.list(
            f"/api/v1/namespaces/{metadata['namespace']}/events",
            params={"fieldSelector": f"involvedObject.uid={metadata['uid']}"},
        )
        return events

    async def _has_namespace(self, project: str) -> list[str]:
        try:
            namespace = await self._client.get(f"/api/v1/namespaces/runai-{project}")
        except NotFoundError:
            return [f"namespace runai-{project} is not made"]
        label = (namespace["metadata"].get("labels") or {}).get("runai/queue")
        return [] if label == project else [f"namespace runai-{project} is labelled {label}"]

    async def _make(self, kind: str, specs: Mapping[str, Json]) -> None:
        for name, spec in specs.items():
            body = {"apiVersion": "run.ai/v1", "kind": kind, "metadata": {"name": name}, "spec": spec or {}}
            await self._client.create(f"/apis/run.ai/v1/{kind.lower()}s", body, params={"fieldValidation": "Strict"})

    async def _create_all(self, made: list[Json]) -> None:
        limit = asyncio.Semaphore(_AT_ONCE)

        async def one(pod: Json) -> None:
            async with limit:
                await self._create(pod)

        async with asyncio.TaskGroup() as tasks:
            for pod in made:
                tasks.create_task(one(pod))

    async def _create(self, pod: Json) -> None:
        """Until the API server has it: it may stand still, or still know an earlier pod of that name."""
        deadline = time.monotonic() + _WITHIN_S
        path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods"
        sent = False
        while True:
            try:
                await self._client.create(path, pod, params={"fieldValidation": "Strict"})
                return
            except ConflictError:
                if sent:
                    return  # ours, from a try whose answer was lost
            except ApiError as error:
                sent = error.status == 0 or error.status >= 500
                if not sent or time.monotonic() > deadline:
                    raise
            assert time.monotonic() < deadline, f"pod {pod['metadata']['name']} cannot be created"
            await asyncio.sleep(0.05)

    async def _delete(self, namespace: str, name: str, grace_s: int | None = None) -> None:
        options = {} if grace_s is None else {"gracePeriodSeconds": grace_s}
        with contextlib.suppress(NotFoundError):
            await self._client.delete(f"/api/v1/namespaces/{namespace}/pods/{name}", options=options)

    async def _until(
        self, problems: Callable[[], Awaitable[list[str]]], within_s: float, *, every_s: float = _POLL_S
    ) -> None:
        """Poll until there are no problems; AssertionError with the last ones after `within_s`."""
        deadline = time.monotonic() + within_s
        while True:
            found = await problems()
            if not found:
                return
            if time.monotonic() > deadline:
                more = f"\n… and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
                raise AssertionError(f"after {within_s:g} s still:\n" + "\n".join(found[:_SHOWN]) + more)
            await asyncio.sleep(every_s)


def _place(pod: Json | None) -> tuple[str, str, str] | None:
    if pod is None or not pod["spec"].get("nodeName"):
        return None
    metadata = pod["metadata"]
    return (
        pod["spec"]["nodeName"],
        (metadata.get("annotations") or {}).get("runai-gpu", ""),
        (metadata.get("labels") or {}).get("runai-gpu-group", ""),
    )


def _unequal(have: Any, due: Any, path: str) -> list[str]:
    """Where `have` lacks what `due` says; mappings may have more."""
    if isinstance(due, dict) and isinstance(have, dict):
        return [one for key, value in due.items() for one in _unequal(have.get(key), value, f"{path}.{key}")]
    return [] if have == due else [f"{path.lstrip('.')} is {json.dumps(have)}, {json.dumps(due)} is due"]
