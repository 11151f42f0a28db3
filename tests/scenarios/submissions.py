"""What workloads, templates and policies must do on any cluster: checks that service and end-to-end tests share."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import yaml

from extender.controllers import claims
from extender.controllers.submitter import Submitter
from extender.emulator.nodes import NodeShape, add_nodes
from extender.errors import ApiError, NotFoundError, UnavailableError
from extender.model.workload import WorkloadKind
from extender.wire.manifests.definitions import converted
from extender.workloads.objects import Backend, Images
from tests.scenarios import webhooks
from tests.scenarios.cluster import Cluster, kubectl_path
from tests.scenarios.process import Extender

Json = dict[str, Any]

MANIFESTS = Path(__file__).parent / "manifests"
NAMESPACE = "runai-team-a"
_DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_SOON_S = 40.0


class Site:
    """A cluster with all of ours as `deploy/` runs it, the scheduler apart from the services; a project, two nodes.

    accounts: the kubeconfigs of the two; by default they may do everything.
    """

    def __init__(self, cluster: Cluster, accounts: tuple[Path, Path] | None = None) -> None:
        self.cluster = cluster
        self.client = cluster.client
        scheduler, services = accounts or (cluster.kubeconfig, cluster.kubeconfig)
        self.extender = Extender(scheduler, cluster.directory / "scheduler.log", flags=("--roles=extender",))
        roles = ("--roles=admission,workloads",)
        self.services = Extender(services, cluster.directory / "services.log", flags=roles)

    async def start(self) -> None:
        url = f"https://127.0.0.1:{self.services.admission_port}"
        for name in converted():
            at = {"service": None, "url": f"{url}/admission/convert"}
            patch = {"spec": {"conversion": {"webhook": {"clientConfig": at}}}}
            await self.client.patch(f"{_DEFINITIONS}/{name}", patch)
        with contextlib.suppress(ApiError):
            await self.client.create("/api/v1/namespaces", {"metadata": {"name": "runai"}})
        await webhooks.install(self.client, self.services.admission_port)
        await self.services.start()
        await self.extender.start()
        await self.cluster.start_scheduler(self.extender.url)
        await add_nodes(self.client, 2, NodeShape(gpus=4))
        project = {"metadata": {"name": "team-a"}, "spec": {"deservedGpus": 8}}
        await self.client.create("/apis/run.ai/v1/projects", {"apiVersion": "run.ai/v1", "kind": "Project", **project})
        await self.until(self._is_ready)

    async def _is_ready(self) -> bool:
        """Whether the namespace is there, both versions are served and the webhook judges."""
        try:
            await self.client.list(at("interactiveworkloads", version="v1alpha1"))
            return not await webhooks.not_gated(self.client, NAMESPACE)
        except ApiError:
            return False

    async def until(self, claim: Callable[[], Awaitable[Any]], within_s: float = _SOON_S) -> Any:
        async with asyncio.timeout(within_s):
            while not (found := await claim()):
                await asyncio.sleep(0.1)
        return found

    async def kubectl(self, *arguments: str, fails: bool = False) -> str:
        """What kubectl says. Raises AssertionError when it fails or, with `fails`, does not."""
        kubectl = kubectl_path()
        assert kubectl is not None, "kubectl is missing"
        flags = (f"--kubeconfig={self.cluster.kubeconfig}", f"--cache-dir={self.cluster.directory / 'kubectl-cache'}")
        return await _output(str(kubectl), *flags, *arguments, fails=fails)

    async def runai(self, *arguments: str) -> str:
        command = (sys.executable, "-c", "from extender.cli.researcher import main; main()")
        return await _output(*command, *arguments, f"--kubeconfig={self.cluster.kubeconfig}")

    async def apply(self, text: str, *, fails: bool = False) -> str:
        file = self.cluster.directory / "applied.yaml"
        file.write_text(text)
        return await self.kubectl("apply", "-f", str(file), fails=fails)

    async def refused(self, text: str) -> str:
        """What `kubectl apply` says of a manifest that is refused."""
        return await self.apply(text, fails=True)

    async def submitted(self, kind: str, name: str, phase: str = "Submitted") -> Json:
        """The workload once its submission has ended, in that phase."""

        async def ended() -> Json | None:
            found = await self.client.get(at(kind, name))
            return found if (found.get("status") or {}).get("phase") else None

        found: Json = await self.until(ended)
        assert found["status"]["phase"] == phase, found["status"]["events"]
        return found

    async def delete_all(self) -> None:
        """Every workload, policy, and what was made of them."""
        for kind in WorkloadKind:
            for plural in (kind.workloads, kind.policies):
                for namespace in (NAMESPACE, "runai"):
                    for one in (await self.client.list(at(plural, namespace=namespace)))[0]:
                        with contextlib.suppress(NotFoundError):
                            await self.client.delete(at(plural, one["metadata"]["name"], namespace=namespace))

        for name in await self.names("configmaps"):
            with contextlib.suppress(NotFoundError):
                await self.client.delete(f"/api/v1/namespaces/{NAMESPACE}/configmaps/{name}")
        left: list[str] = []

        async def nothing_is_left() -> bool:
            kinds = ("configmaps", "services", "pods", "runaijobs")
            left[:] = [f"{kind} {name}" for kind in kinds for name in await self.names(kind)]
            return not left

        try:
            await self.until(nothing_is_left)
        except TimeoutError:
            raise AssertionError(f"left over: {', '.join(left)}") from None

    async def names(self, what: str, namespace: str = NAMESPACE) -> list[str]:
        """Of the objects in the namespace, but for the authorities (`….crt`) that controllers publish in every one."""
        group = "/apis/run.ai/v1" if what == "runaijobs" else "/api/v1"
        found, _ = await self.client.list(f"{group}/namespaces/{namespace}/{what}")
        return sorted(one["metadata"]["name"] for one in found if not one["metadata"]["name"].endswith(".crt"))


def at(plural: str, name: str = "", *, version: str = "v2alpha1", namespace: str = NAMESPACE) -> str:
    return f"/apis/run.ai/{version}/namespaces/{namespace}/{plural}" + (f"/{name}" if name else "")


def manifest(kind: str, name: str, spec: Json, *, namespace: str = NAMESPACE, version: str = "v2alpha1") -> Json:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": f"run.ai/{version}", "kind": kind, "metadata": metadata, "spec": spec}


async def _output(*command: str, fails: bool = False) -> str:
    child = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(child.communicate(), 60)
    assert (child.returncode != 0) == fails, output.decode()
    return output.decode()


@contextlib.asynccontextmanager
async def running(cluster: Cluster, accounts: tuple[Path, Path] | None = None) -> AsyncIterator[Site]:
    site = Site(cluster, accounts)
    processes = (site.extender, site.services)
    try:
        await site.start()
        yield site
        for process in processes:
            assert not process.complaints(), process.complaints()[:3]
    finally:
        for process in processes:
            await process.close()


# The checks.


async def the_seed_gives_its_objects_its_table_and_its_description(site: Site) -> None:
    """Seed 001 with the base workload that its text speaks of; jupyter-0 is taken, as its jupyter-1 tells."""
    await site.client.create(f"/api/v1/namespaces/{NAMESPACE}/configmaps", {"metadata": {"name": "jupyter-0"}})
    for file in ("seed-001-template.yaml", "seed-001-submit.yaml"):
        await site.kubectl("apply", "-f", str(MANIFESTS / file))
    await site.submitted("interactiveworkloads", "my-jupyter-job")
    assert await site.names("configmaps") == ["jupyter-0", "jupyter-1"]
    assert await site.names("runaijobs") == ["jupyter-1"]
    assert await site.names("services") == ["jupyter-1-jupyter"]
    assert await site.runai("list", "workloads", "--interactive", "--project", "team-a") == (
        "WORKLOAD                   USAGE     PROJECT/GLOBAL\n"
        "my-jupyter-job             Submit    team-a\n"
        "team-a-jupyter-defaults    Template  team-a\n"
    )
    await site.until(lambda: _runs(site, "interactiveworkloads", "my-jupyter-job"))
    assert await site.runai("describe", "--interactive", "team-a-jupyter-defaults", "-p", "team-a") == (
        "──────◆  team-a-jupyter-defaults  ◆──────\n\n"
        "Project:  team-a\n"
        "image:    jupyter/scipy-notebook\n"
        "jupyter:  true\n"
    )
    described = await site.runai("describe", "--interactive", "my-jupyter-job", "-p", "team-a")
    assert described.startswith(
        "──────◆  my-jupyter-job  ◆──────\n\nProject:        team-a\ngpu:            1\njobNamePrefix:  jupyter\n\n"
        "Status:  Submitted\n\nEvents: \n\nAGE  TYPE  MESSAGE\n"
    ), described
    assert (
        "Created Resources: \n\n"
        "KIND       VERSION    NAMESPACE     NAME\n"
        "----       -------    ---------     ----\n"
        "ConfigMap  v1         runai-team-a  jupyter-1\n"
        "RunaiJob   run.ai/v1  runai-team-a  jupyter-1\n"
        "Service    v1         runai-team-a  jupyter-1-jupyter\n\n"
        "Created job: \n\n"
        "Name: jupyter-1\nNamespace: runai-team-a\nType: Interactive\nStatus: Running\n"
    ) in described, described
    assert re.search(r"\njupyter-1-0-0  RUNNING  INTERACTIVE  \d+s +node-\d/[0-9.]+\n", described), described
    assert await site.names("pods") == ["jupyter-1-0-0"]


async def _runs(site: Site, plural: str, name: str) -> bool:
    job = (await site.client.get(at(plural, name)))["status"].get("job") or {}
    return bool(job.get("status") == "Running")


async def the_ports_of_the_seed_come_from_all_three_sources(site: Site) -> None:
    """M1, with `baseWorkload: team-a`, which the seed's workload forgets, and without."""
    for file in ("seed-001-ports-policy.yaml", "seed-001-ports-template.yaml", "seed-001-ports-submit.yaml"):
        await site.kubectl("apply", "-f", str(MANIFESTS / file))
    based = (MANIFESTS / "seed-001-ports-submit.yaml").read_text()
    await site.apply(
        based.replace("name: my-ports", "name: my-based-ports").replace("spec:", "spec:\n  baseWorkload: team-a")
    )
    ports = {}
    for name in ("my-ports", "my-based-ports"):
        status = (await site.submitted("interactiveworkloads", name))["status"]
        ports[name] = {
            one["parameter"].removeprefix("ports."): (yaml.safe_load(one["value"]), one["origin"])
            for one in status["values"]
            if one["parameter"].startswith("ports.")
        }
    mine = ({"container": 30222, "external": 8222}, "workload")
    assert ports["my-ports"] == {"admin-port-a": ({"container": 30100, "external": 8080}, "policy"), "my-port": mine}
    assert ports["my-based-ports"] == {
        "admin-port-a": ({"container": 30100, "external": 8100}, "base"),
        "team-a-port": ({"container": 30111, "external": 8111}, "base"),
        "my-port": mine,
    }
    job = (await site.client.get(at("interactiveworkloads", "my-based-ports")))["status"]["job"]["name"]
    service = await site.client.get(f"/api/v1/namespaces/{NAMESPACE}/services/{job}-team-a-port")
    (port,) = service["spec"]["ports"]
    assert (port["port"], port["targetPort"]) == (8111, 30111)


async def what_breaks_the_policy_is_refused_at_apply_with_every_line(site: Site) -> None:
    policy = {
        "gpu": {"rules": {"required": True, "max": "4"}, "value": "1"},
        "runAsUser": {"rules": {"canEdit": False}, "value": True},
        "ports": {"rules": {"canAdd": False}},
    }
    await site.client.create(at("trainingpolicies"), manifest("TrainingPolicy", "p", policy))
    spec = {
        "image": {"value": "ubuntu"},
        "gpu": {"value": "5"},
        "runAsUser": {"value": False},
        "ports": {"items": {"web": {"value": {"container": 80}}}},
    }
    said = await site.refused(yaml.safe_dump(manifest("TrainingWorkload", "bad", spec)))
    assert said.rstrip().endswith(
        "denied the request: gpu: must be no greater than 4\nports.web: cannot be added\nrunAsUser: cannot be edited"
    ), said
    good = {"image": {"value": "ubuntu"}, "gpu": {"value": "4"}}
    await site.apply(yaml.safe_dump(manifest("TrainingWorkload", "good", good)))
    assert (await site.client.get(at("trainingworkloads", "good")))["spec"] == good, "it is stored as it was written"
    status = (await site.submitted("trainingworkloads", "good"))["status"]
    assert {"parameter": "runAsUser", "value": "true", "origin": "policy"} in status["values"]
    assert status["policy"] == f"{NAMESPACE}/p"


async def a_policy_of_the_project_replaces_the_global_one(site: Site) -> None:
    """M7: they are not combined."""
    strict = manifest("TrainingPolicy", "global", {"gpu": {"rules": {"max": "1"}}}, namespace="runai")
    await site.client.create(at("trainingpolicies", namespace="runai"), strict)
    many = manifest("TrainingWorkload", "many", {"image": {"value": "ubuntu"}, "gpu": {"value": "2"}})
    assert "gpu: must be no greater than 1" in await site.refused(yaml.safe_dump(many))
    await site.client.create(at("trainingpolicies"), manifest("TrainingPolicy", "own", {"cpu": {"value": "1"}}))
    await site.apply(yaml.safe_dump(many))


async def bad_policies_are_refused_when_they_are_written(site: Site) -> None:
    wrong = manifest("TrainingPolicy", "p", {"gpu": {"rules": {"min": "4", "max": "1"}}, "gpus": {"value": "1"}})
    said = await site.refused(yaml.safe_dump(wrong))
    assert "gpus: unknown field (did you mean gpu?)" in said
    assert "gpu.rules" in said
    nested = manifest(
        "TrainingPolicy", "p", {"gpu": {"rules": {"max": "2"}, "value": {"value": "1"}}}, version="v1alpha1"
    )
    await site.apply(yaml.safe_dump(nested))
    assert (await site.client.get(at("trainingpolicies", "p")))["spec"]["gpu"]["value"] == "1"
    second = manifest("TrainingPolicy", "q", {})
    assert f"namespace: {NAMESPACE} has the TrainingPolicy p already" in await site.refused(yaml.safe_dump(second))


async def a_base_is_found_or_the_reason_names_it(site: Site) -> None:
    image = {"image": {"value": "ubuntu"}}
    shared = manifest("TrainingWorkload", "everywhere", {"usage": "Template", **image}, namespace="runai")
    await site.client.create(at("trainingworkloads", namespace="runai"), shared)
    await site.client.create(at("interactiveworkloads"), manifest("InteractiveWorkload", "book", {"usage": "Template"}))
    for base, says in (
        ("nowhere", "baseWorkload: nowhere not found in team-a or in global templates"),
        ("book", "a base is of the same kind; book is a InteractiveWorkload"),
        ("based", "baseWorkload: based cannot be its own base"),
    ):
        based = manifest("TrainingWorkload", "based", {**image, "baseWorkload": base})
        assert says in await site.refused(yaml.safe_dump(based))
    typo = manifest("TrainingWorkload", "based", {**image, "baseWorload": "everywhere"})
    assert "baseWorload: unknown field (did you mean baseWorkload?)" in await site.refused(yaml.safe_dump(typo))
    template = manifest("TrainingWorkload", "t", {"usage": "Template", "baseWorkload": "everywhere"})
    assert "baseWorkload: cannot be set on a template" in await site.refused(yaml.safe_dump(template))
    await site.apply(yaml.safe_dump(manifest("TrainingWorkload", "based", {"baseWorkload": "everywhere"})))
    status = (await site.submitted("trainingworkloads", "based"))["status"]
    assert status["baseWorkload"] == "runai/everywhere"
    submitted_in_runai = manifest("TrainingWorkload", "s", image, namespace="runai")
    assert "usage: must be Template in the namespace runai" in await site.refused(yaml.safe_dump(submitted_in_runai))


async def a_base_that_a_new_policy_forbids_is_refused_with_the_reason(site: Site) -> None:
    old = {"usage": "Template", "image": {"value": "ubuntu"}, "gpu": {"value": "5"}}
    await site.client.create(at("trainingworkloads"), manifest("TrainingWorkload", "old", old))
    rules = {"gpu": {"rules": {"max": "3"}}}
    await site.client.create(at("trainingpolicies"), manifest("TrainingPolicy", "p", rules))
    clone = manifest("TrainingWorkload", "clone", {"baseWorkload": "old"})
    assert "gpu: must be no greater than 3" in await site.refused(yaml.safe_dump(clone))


async def nonsense_is_refused_with_the_right_word(site: Site) -> None:
    many = {f"V{index}": {"value": "x"} for index in range(5000)}
    for spec, says in (
        ({"image": {"value": 1}}, "spec.image.value"),
        ({"usage": "template"}, "Template"),
        ({"imagee": {"value": "x"}}, "imagee: unknown field (did you mean image?)"),
        ({"name": {"value": "a"}, "namePrefix": {"value": "b"}}, "name: only one of name and namePrefix may be set"),
        ({"ports": {"items": {"web": {"value": {"external": 80}}}}}, "ports.web.container: cannot be blank"),
        ({"environment": {"items": many}}, "spec.environment.items"),
        (
            {
                "serviceType": {"value": "NodePort"},
                "ports": {
                    "items": {
                        "a": {"value": {"container": 80, "external": 30001}},
                        "b": {"value": {"container": 81, "external": 30001}},
                    }
                },
            },
            "30001",
        ),
    ):
        spec = {"image": {"value": "ubuntu"}, **spec}
        assert says in await site.refused(yaml.safe_dump(manifest("TrainingWorkload", "bad", spec))), says


async def names_are_given_once_however_many_are_submitted(site: Site) -> None:
    """12.9, with races: each has its own index, the smallest free ones together."""
    spec = {"image": {"value": "ubuntu"}, "namePrefix": {"value": "hpo"}}
    made = [manifest("TrainingWorkload", f"w{index}", spec) for index in range(12)]
    await asyncio.gather(*(site.client.create(at("trainingworkloads"), one) for one in made))
    ended = [await site.submitted("trainingworkloads", f"w{index}") for index in range(12)]
    assert sorted(one["status"]["job"]["name"] for one in ended) == sorted(f"hpo-{index}" for index in range(12))
    taken = manifest("TrainingWorkload", "again", {"image": {"value": "ubuntu"}, "name": {"value": "hpo-3"}})
    await site.client.create(at("trainingworkloads"), taken)
    failed = (await site.submitted("trainingworkloads", "again", "Failed"))["status"]
    assert [(one["type"], one["message"]) for one in failed["events"]] == [
        ("Error", "the job hpo-3 already exists, please delete it first (use 'runai delete hpo-3')")
    ]
    assert not failed.get("createdResources")


async def a_workload_is_submitted_once(site: Site) -> None:
    spec = {"image": {"value": "ubuntu"}, "name": {"value": "once"}}
    await site.client.create(at("trainingworkloads"), manifest("TrainingWorkload", "w", spec))
    await site.submitted("trainingworkloads", "w")
    changed = manifest("TrainingWorkload", "w", {**spec, "gpu": {"value": "1"}})
    said = await site.refused(yaml.safe_dump(changed))
    assert "spec: w was submitted as job once, and is submitted once; create another TrainingWorkload" in said
    await site.client.patch(at("trainingworkloads", "w"), {"metadata": {"labels": {"a": "b"}}})
    assert await site.names("runaijobs") == ["once"]


async def without_the_webhook_the_controller_says_the_same(site: Site) -> None:
    """12.2, the asynchronous form: Failed with an Error event a line; what is mended is tried again, and only that."""
    await webhooks.uninstall(site.client)
    workload = at("trainingworkloads", "w")
    try:
        await site.client.create(
            at("trainingpolicies"), manifest("TrainingPolicy", "p", {"gpu": {"rules": {"max": "1"}}})
        )
        spec = {"gpu": {"value": "5"}, "imagee": {"value": "ubuntu"}}
        await site.client.create(at("trainingworkloads"), manifest("TrainingWorkload", "w", spec))
        status = (await site.submitted("trainingworkloads", "w", "Failed"))["status"]
        wrong = [
            "gpu: must be no greater than 1",
            "image: cannot be blank",
            "imagee: unknown field (did you mean image?)",
        ]
        assert [(one["type"], one["message"]) for one in status["events"]] == [("Error", line) for line in wrong]
        assert not status.get("createdResources")

        async def told() -> bool:
            events, _ = await site.client.list(f"/api/v1/namespaces/{NAMESPACE}/events")
            ours = [one["message"] for one in events if one["involvedObject"]["name"] == "w"]
            return set(ours) >= set(wrong)

        await site.until(told)
        mended = {"gpu": {"value": "1"}, "imagee": None, "image": {"value": "ubuntu"}}
        await site.client.patch(workload, {"spec": mended})

        async def is_submitted() -> bool:
            phase: str = (await site.client.get(workload))["status"]["phase"]
            return phase == "Submitted"

        await site.until(is_submitted)
        await site.client.patch(workload, {"spec": {"gpu": {"value": "0.5"}}})

        async def is_ignored() -> bool:
            last = (await site.client.get(workload))["status"]["events"][-1]
            return last["type"] == "Warning" and "job job-0 keeps the values" in last["message"]

        await site.until(is_ignored)
        assert await site.names("runaijobs") == ["job-0"]
    finally:
        await webhooks.install(site.client, site.services.admission_port)
        await site.until(lambda: _ready_again(site))


async def what_cannot_be_made_is_undone_and_said(site: Site) -> None:
    """Somebody's own Service has the name that one of ours would have: theirs is left alone, nothing of ours stays."""
    ports = {"free": {"value": {"container": 80}}, "taken": {"value": {"container": 81}}}
    spec = {"image": {"value": "ubuntu"}, "ports": {"items": ports}}
    services = f"/api/v1/namespaces/{NAMESPACE}/services"
    theirs = await site.client.create(
        services, {"metadata": {"name": "job-0-taken"}, "spec": {"selector": {"mine": "yes"}, "ports": [{"port": 80}]}}
    )
    await site.client.create(at("trainingworkloads"), manifest("TrainingWorkload", "w", spec))
    try:
        await failed_without_a_trace(site, "w", "there is one already, and it is not of this workload")
        assert await site.client.get(f"{services}/job-0-taken") == theirs
    finally:
        await site.client.delete(f"{services}/job-0-taken")


async def failed_without_a_trace(site: Site, name: str, why: str) -> None:
    """Of a workload with the ports `free` and `taken`."""
    status = (await site.submitted("trainingworkloads", name, "Failed"))["status"]
    assert not status.get("createdResources")
    assert [one["type"] for one in status["events"]] == ["Error", "Warning"], status["events"]
    assert status["events"][0]["message"].startswith("Service job-0-taken could not be created: ")
    assert why in status["events"][0]["message"]
    assert (
        status["events"][1]["message"] == "what had been created was deleted again: Service job-0-free, ConfigMap job-0"
    )
    assert "job-0-free" not in await site.names("services")
    assert await site.names("configmaps") == []
    assert await site.names("runaijobs") == []


async def a_submission_that_was_cut_off_goes_on_under_its_name(site: Site) -> None:
    """The process died between the claim and the job: the same objects are made, under the same name, by the next."""
    assert await site.services.stop() == 0
    try:
        await webhooks.uninstall(site.client)
        spec = {"image": {"value": "ubuntu"}, "ports": {"items": {"web": {"value": {"container": 80}}}}}
        made = await site.client.create(at("trainingworkloads"), manifest("TrainingWorkload", "w", spec))
        submitter = Submitter(site.client, backend=Backend.RUNAI, images=Images())
        made["apiVersion"], made["kind"] = "run.ai/v2alpha1", "TrainingWorkload"
        applied = []

        async def dies(workload: Json, wanted: Json) -> bool:
            applied.append(wanted["kind"])
            raise UnavailableError("killed")

        submitter._apply = dies  # type: ignore[method-assign]
        outcome = await submitter.submit(WorkloadKind.TRAINING, made)
        assert (outcome.phase, applied) == ("", ["Service"])
        (claim,) = await site.names("configmaps")
        assert claim == "job-0"
        # Another policy meanwhile changes nothing of it.
        await site.client.create(at("trainingpolicies"), manifest("TrainingPolicy", "p", {"cpu": {"value": "3"}}))
    finally:
        await webhooks.install(site.client, site.services.admission_port)
        await site.services.start()
    status = (await site.submitted("trainingworkloads", "w"))["status"]
    assert status["job"]["name"] == "job-0"
    assert [one["parameter"] for one in status["values"]] == ["image", "ports.web"]
    assert await site.names("configmaps") == ["job-0"]
    labels = (await site.client.get(f"/api/v1/namespaces/{NAMESPACE}/configmaps/job-0"))["metadata"]["labels"]
    assert labels[claims.UID_LABEL] == made["metadata"]["uid"]
    await site.until(lambda: _ready_again(site))


async def _ready_again(site: Site) -> bool:
    return not await webhooks.not_gated(site.client, NAMESPACE)


async def deleting_a_workload_deletes_what_it_made(site: Site) -> None:
    spec = {
        "image": {"value": "ubuntu"},
        "gpu": {"value": "1"},
        "ports": {"items": {"web": {"value": {"container": 80}}}},
        "pvcs": {"items": {"data": {"value": {"path": "/data", "size": "1Gi"}}}},
    }
    await site.client.create(at("trainingworkloads"), manifest("TrainingWorkload", "w", spec))
    status = (await site.submitted("trainingworkloads", "w"))["status"]
    assert [one["kind"] for one in status["createdResources"]] == [
        "ConfigMap",
        "PersistentVolumeClaim",
        "RunaiJob",
        "Service",
    ]
    await site.client.delete(at("trainingworkloads", "w"))

    async def gone() -> bool:
        kinds = ("configmaps", "services", "runaijobs", "pods")
        return not any([await site.names(kind) for kind in kinds])

    await site.until(gone)


async def distributed_work_runs_as_one_gang_without_an_operator(site: Site) -> None:
    spec = {
        "jobType": "PyTorch",
        "name": {"value": "dist"},
        "image": {"value": "pytorch"},
        "gpu": {"value": "1"},
        "workers": {"value": 3},
    }
    await site.client.create(at("distributedworkloads"), manifest("DistributedWorkload", "d", spec))
    await site.submitted("distributedworkloads", "d")
    await site.until(lambda: _runs(site, "distributedworkloads", "d"))
    pods, _ = await site.client.list(f"/api/v1/namespaces/{NAMESPACE}/pods")
    assert len(pods) == 4
    groups = {(pod["metadata"]["annotations"] or {}).get("pod-group-name") for pod in pods}
    assert len(groups) == 1, "one gang"
    (group,) = groups
    found = await site.client.get(
        f"/apis/scheduling.incubator.k8s.io/v1alpha1/namespaces/{NAMESPACE}/podgroups/{group}"
    )
    assert found["spec"]["minMember"] == 4
    variables = [
        {one["name"] for one in pod["spec"]["containers"][0]["env"]}
        >= {"MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "RANK"}
        for pod in pods
    ]
    assert all(variables)


async def each_kind_becomes_what_it_needs(site: Site) -> None:
    image = {"image": {"value": "ubuntu"}}
    port = {"ports": {"items": {"port-8080": {"value": {"container": 8000}}}}}
    git = {"gitSync": {"items": {"code": {"value": {"source": "https://example.com/r.git", "password": "plain"}}}}}
    submitted: list[tuple[WorkloadKind, str, Json, list[str]]] = [
        (
            WorkloadKind.INFERENCE,
            "serve",
            {**image, **port, "gpu": {"value": "0.5"}},
            ["ConfigMap serve", "Deployment serve", "Service serve-port-8080"],
        ),
        (
            WorkloadKind.DEPLOYMENT,
            "deploy",
            {**image, **port},
            ["ConfigMap deploy", "Deployment deploy", "Service deploy-port-8080"],
        ),
        (
            WorkloadKind.INTERACTIVE,
            "book",
            {"jupyter": {"value": True}, "serviceType": {"value": "ingress"}},
            ["ConfigMap book", "Ingress book", "RunaiJob book", "Service book-jupyter"],
        ),
    ]
    for kind, name, spec, _ in submitted:
        spec = {**spec, "name": {"value": name}}
        await site.client.create(at(kind.workloads), manifest(kind.workload, name, spec))
    private = manifest("TrainingWorkload", "private", {**image, **git, "name": {"value": "private"}})
    await site.client.create(at("trainingworkloads"), private)
    for kind, name, _, made in submitted:
        status = (await site.submitted(kind.workloads, name))["status"]
        assert [f"{one['kind']} {one['name']}" for one in status["createdResources"]] == made
        await site.until(lambda kind=kind, name=name: _runs(site, kind.workloads, name))  # type: ignore[misc]
    status = (await site.submitted("trainingworkloads", "private"))["status"]
    kinds = [one["kind"] for one in status["createdResources"]]
    assert kinds == ["ConfigMap", "RunaiJob", "Secret"]
    claim = await site.client.get(f"/api/v1/namespaces/{NAMESPACE}/configmaps/private")
    job = await site.client.get(f"/apis/run.ai/v1/namespaces/{NAMESPACE}/runaijobs/private")
    assert "plain" not in str(job["spec"]), "RUN-6027: a password is in a Secret alone"
    assert "plain" not in str(claim["data"])


async def a_password_is_in_a_secret_and_nowhere_else(site: Site) -> None:
    """And in what its author wrote. The Secret is looked for without being read, twice here."""
    code = {"code": {"value": {"source": "https://x/y", "username": "u", "password": "hunter2"}}}
    spec = {"image": {"value": "ubuntu"}, "name": {"value": "j"}, "gitSync": {"items": code}}
    made = await site.client.create(at("trainingworkloads"), manifest("TrainingWorkload", "w", spec))
    status = (await site.submitted("trainingworkloads", "w"))["status"]
    assert "Secret j-secrets" in {f"{one['kind']} {one['name']}" for one in status["createdResources"]}
    claim = await site.client.get(f"/api/v1/namespaces/{NAMESPACE}/configmaps/j")
    job = await site.client.get(f"/apis/run.ai/v1/namespaces/{NAMESPACE}/runaijobs/j")
    assert "hunter2" not in str((status, claim["data"], job))
    again = await Submitter(site.client, backend=Backend.RUNAI, images=Images()).submit(WorkloadKind.TRAINING, made)
    assert again.phase == "Submitted", again.messages


CHECKS = (
    the_seed_gives_its_objects_its_table_and_its_description,
    the_ports_of_the_seed_come_from_all_three_sources,
    what_breaks_the_policy_is_refused_at_apply_with_every_line,
    a_policy_of_the_project_replaces_the_global_one,
    bad_policies_are_refused_when_they_are_written,
    a_base_is_found_or_the_reason_names_it,
    a_base_that_a_new_policy_forbids_is_refused_with_the_reason,
    nonsense_is_refused_with_the_right_word,
    names_are_given_once_however_many_are_submitted,
    a_workload_is_submitted_once,
    without_the_webhook_the_controller_says_the_same,
    what_cannot_be_made_is_undone_and_said,
    a_submission_that_was_cut_off_goes_on_under_its_name,
    deleting_a_workload_deletes_what_it_made,
    a_password_is_in_a_secret_and_nowhere_else,
    distributed_work_runs_as_one_gang_without_an_operator,
    each_kind_becomes_what_it_needs,
)
