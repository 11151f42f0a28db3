"""Plays a scenario file on a cluster.

    id              of one of several in a file
    title, why      what it shows, and why it matters
    needs           abilities of the cluster (`pause_api`, `faults`, `kube_scheduler`) without which it is left out
    gates           [false] (the default), [true] or both: played without and with the admission webhook
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
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from extender.emulator.kubelet import RUN_SECONDS
from extender.emulator.nodes import NodeShape, add_nodes
from extender.errors import ApiError, ConflictError, NotFoundError
from tests.scenarios import chaos, sharing, webhooks, workloads
from tests.scenarios import pods as shorthand
from tests.scenarios.cluster import Cluster, pods_of_users
from tests.scenarios.expectations import Expectations
from tests.scenarios.process import Extender
from tests.scenarios.recount import Recount

Json = dict[str, Any]

HERE = Path(__file__).parent

_TOP = frozenset(["id", "title", "why", "needs", "gates", "environment", "nodes", "projects", "departments", "steps"])
_WITHIN_S = 45.0
_POLL_S = 0.2
_REST_S = 1.6  # longer than news waits to be told
_AT_ONCE = 8
_SHOWN = 12


@dataclass(frozen=True)
class Play:
    """One scenario of a file; gated: the webhook holds new pods until the planner has a seat for them."""

    name: str
    scenario: Json
    gated: bool

    def __str__(self) -> str:
        return f"{self.name}{'-gated' if self.gated else ''}"


def plays(abilities: frozenset[str], *, gated: bool | None = None) -> list[Play]:
    """What a cluster with these abilities can play: every scenario, without and with gates as it says.

    gated: of those that say both only this form; None for both.
    """
    found = []
    for file in sorted(HERE.glob("*.yaml")):
        for name, scenario in load(file).items():
            if abilities.issuperset(scenario.get("needs") or ()):
                forms = scenario.get("gates", [False])
                chosen = [gated] if gated is not None and gated in forms else forms
                found += [Play(name, scenario, form) for form in chosen]
    return found


def load(file: Path) -> dict[str, Json]:
    """The scenarios of a file, by name: the file's, and `id` where there are several documents.

    Raises ValueError when one has a key or step that does not exist.
    """
    found: dict[str, Json] = {}
    for scenario in yaml.safe_load_all(file.read_text()):
        unknown = scenario.keys() - _TOP
        if unknown:
            raise ValueError(f"{file.name}: unknown keys {sorted(unknown)}")
        for step in scenario["steps"]:
            (key,) = step
            if not hasattr(Run, f"_step_{key}"):
                raise ValueError(f"{file.name}: there is no step `{key}`")
        found[f"{file.stem}-{scenario['id']}" if "id" in scenario else file.stem] = scenario
    return found


async def run(scenario: Json, cluster: Cluster, *, extender_port: int | None = None, gated: bool = False) -> None:
    """Play it from an empty cluster; leaves what it made. Raises AssertionError that says what was not so."""
    play = Run(scenario, cluster, extender_port, gated=gated)
    try:
        await play.play()
    finally:
        await play.close()


class Run:
    """One scenario under way."""

    def __init__(self, scenario: Json, cluster: Cluster, extender_port: int | None, *, gated: bool = False) -> None:
        self._scenario = scenario
        self._cluster = cluster
        self.client = cluster.client
        self.extender = Extender(
            cluster.kubeconfig,
            cluster.directory / f"extender-{time.monotonic_ns()}.log",
            port=extender_port,
            environment=scenario.get("environment"),
        )
        self._gated = gated
        self._expectations = Expectations(self.client, self.extender, gated=gated)
        self._background: list[asyncio.Task[None]] = []
        self._said: list[str] = []
        self._last_seen = ""
        self.abilities = cluster.abilities
        self.kubelets = cluster.kubelets

    def fault(self, method: str, arguments: Json) -> None:
        """Script a fault of an API server that can be scripted."""
        self._cluster.fault(method, arguments)

    async def play(self) -> None:
        await self._expectations.begin()
        if self._gated:
            await webhooks.install(self.client, self.extender.admission_port)
        await self.extender.start()
        await self._cluster.start_scheduler(self.extender.url)
        await self.furnish()
        if self._gated:
            namespace = f"runai-{next(iter(self._scenario['projects']))}"
            await self._until(lambda: webhooks.not_gated(self.client, namespace), 30.0, every_s=0.05)
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
            await add_nodes(self.client, fields.pop("count"), NodeShape(**fields))
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
        if self._gated:
            await webhooks.uninstall(self.client)
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
            await self.create(pod)

    async def _step_make(self, value: Mapping[str, Mapping[str, Json]]) -> None:
        """{Project | Department: {name: spec}}."""
        for kind, specs in value.items():
            await self._make(kind, specs)

    async def _step_add_nodes(self, value: Json) -> None:
        """{count, first, and the fields of emulator.nodes.NodeShape}: more nodes."""
        fields = dict(value)
        await add_nodes(
            self.client,
            fields.pop("count"),
            NodeShape(**{k: v for k, v in fields.items() if k != "first"}),
            first=fields["first"],
        )

    async def _step_groups(self, value: list[Json]) -> None:
        """[{name, namespace, min, queue, priority}, …]: PodGroups."""
        for short in value:
            await self._post(workloads.group(short))

    async def _step_workloads(self, value: list[Json]) -> None:
        """[short workload, …] of `workloads.workload`: created one after the other."""
        for short in value:
            await self._post(workloads.workload(short))

    async def _step_remove(self, value: list[str]) -> None:
        """[path, …]: objects that are deleted with all they own."""
        for path in value:
            await self.client.delete(path, options={"propagationPolicy": "Background"})

    async def _step_remove_pods_of_lost_nodes(self, _: None) -> None:
        """What the pod garbage collector does, after a while: pods on nodes that do not exist are deleted."""
        nodes = {node["metadata"]["name"] for node in (await self.client.list("/api/v1/nodes"))[0]}
        for pod in (await self.client.list("/api/v1/pods"))[0]:
            if pod["spec"].get("nodeName") and pod["spec"]["nodeName"] not in nodes:
                await self.delete(pod["metadata"]["namespace"], pod["metadata"]["name"], grace_s=0)

    async def _step_next_second(self, _: None) -> None:
        """Objects made from here on are younger than those before, as their time stamps tell."""
        await asyncio.sleep(1.05)

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
                await self.delete(pod["metadata"]["namespace"], pod["metadata"]["name"], grace_s=0)
                await self.create(pod)

        await self._create_all(made)
        async with asyncio.TaskGroup() as tasks:
            for number, pod in enumerate(made):
                tasks.create_task(again(pod, number))

    async def _step_delete(self, value: Json) -> None:
        """{pods: [ns/name, …]}, or {every: N}: every Nth pod of the project namespaces, by name."""
        keys = [key.split("/") for key in value.get("pods", ())]
        if "every" in value:
            found = await pods_of_users(self.client)
            names = sorted((pod["metadata"]["namespace"], pod["metadata"]["name"]) for pod in found)
            keys.extend(list(pair) for pair in names[:: value["every"]])
        for namespace, name in keys:
            await self.delete(namespace, name)

    async def _step_patch(self, value: Json) -> None:
        """{path, patch}: a merge patch."""
        await self.client.patch(value["path"], value["patch"])

    async def _step_finish(self, value: Json) -> None:
        """{pod: ns/name*}: its containers end by themselves, with success."""
        pods = await pods_of_users(self.client)
        prefix = value["pod"].rstrip("*")
        for namespace, name in ((pod["metadata"]["namespace"], pod["metadata"]["name"]) for pod in pods):
            if f"{namespace}/{name}".startswith(prefix):
                patch = {"metadata": {"annotations": {RUN_SECONDS: "0"}}}
                await self.client.patch(f"/api/v1/namespaces/{namespace}/pods/{name}", patch)

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

    async def _step_shake(self, value: Json) -> None:
        """{count, rounds, seed, namespace}: see `chaos`."""
        await chaos.shake(self, value)

    async def _step_sharing(self, value: str) -> None:
        """The name of a check in `sharing`."""
        await getattr(sharing, value)(self)

    async def _step_join(self, _: None) -> None:
        """Wait for `generate` and `burst`."""
        tasks, self._background = self._background, []
        await asyncio.gather(*tasks)

    # ------------------------------------------------------------------------------------- things that are so

    async def _step_bound(self, value: Json) -> None:
        """{at_least: N}: that many pods have been given a node."""

        async def enough() -> list[str]:
            pods = await pods_of_users(self.client)
            found = sum(1 for pod in pods if pod["spec"].get("nodeName"))
            self._last_seen = f"{found} of {len(pods)} pods bound"
            return [] if found >= value["at_least"] else [f"{found} pods are bound, {value['at_least']} are due"]

        await self._until(enough, value.get("within", _WITHIN_S), every_s=0.02)
        self._note(f"  {self._last_seen}")

    async def _step_as_meant(self, value: int) -> None:
        """So many pods are on the very node that filter answered last (log level debug tells)."""
        meant = self.extender.answered_nodes()
        pods = await pods_of_users(self.client)
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
        running, pending, evicted: {ns/name or ns/name*: how many such pods}, evicted since the play began;
        said: [{pod: ns/name*, reason, message: a regular expression}, …], Events of ours.
        """
        await self._until(lambda: self._expectations.problems(value), value.get("within", _WITHIN_S))

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

    async def _step_steady(self, value: Json) -> None:
        """{seconds}: once things have come to rest, nobody is moved or evicted for so long, and nothing is said."""
        before: Json | None = None
        deadline = time.monotonic() + _WITHIN_S
        while (now := await self._expectations.calm()) != before:
            assert time.monotonic() < deadline, f"it does not come to rest: {now}"
            before = now
            await asyncio.sleep(_REST_S)
        await asyncio.sleep(value["seconds"])
        after = await self._expectations.calm(before["pods"])
        assert before == after, f"before: {before}\nafter: {after}"

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
            "config_maps": "/api/v1/configmaps",
        }.items():
            lists[name], _ = await self.client.list(path)
        return Recount(**lists)

    # ------------------------------------------------------------------------------------------------ helpers

    async def _has_namespace(self, project: str) -> list[str]:
        try:
            namespace = await self.client.get(f"/api/v1/namespaces/runai-{project}")
        except NotFoundError:
            return [f"namespace runai-{project} is not made"]
        label = (namespace["metadata"].get("labels") or {}).get("runai/queue")
        return [] if label == project else [f"namespace runai-{project} is labelled {label}"]

    async def _make(self, kind: str, specs: Mapping[str, Json]) -> None:
        for name, spec in specs.items():
            body = {"apiVersion": "run.ai/v1", "kind": kind, "metadata": {"name": name}, "spec": spec or {}}
            await self.client.create(f"/apis/run.ai/v1/{kind.lower()}s", body, params={"fieldValidation": "Strict"})

    async def _create_all(self, made: list[Json]) -> None:
        limit = asyncio.Semaphore(_AT_ONCE)

        async def one(pod: Json) -> None:
            async with limit:
                await self.create(pod)

        async with asyncio.TaskGroup() as tasks:
            for pod in made:
                tasks.create_task(one(pod))

    async def create(self, pod: Json) -> None:
        """Until the API server has it: it may stand still, or still know an earlier pod of that name."""
        deadline = time.monotonic() + _WITHIN_S
        path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods"
        sent = False
        while True:
            try:
                await self.client.create(path, pod, params={"fieldValidation": "Strict"})
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

    async def _post(self, obj: Json) -> None:
        await self.client.create(workloads.path_of(obj), obj, params={"fieldValidation": "Strict"})

    async def delete(self, namespace: str, name: str, grace_s: int | None = None) -> None:
        options = {} if grace_s is None else {"gracePeriodSeconds": grace_s}
        with contextlib.suppress(NotFoundError):
            await self.client.delete(f"/api/v1/namespaces/{namespace}/pods/{name}", options=options)

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
