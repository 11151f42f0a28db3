"""Policies on plain pods and on the templates of workloads: what is filled in, and what is refused."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import pytest

from extender.admission import policies, rules
from extender.admission.defaults import Factors
from extender.admission.pods import Context
from extender.admission.policies import Known, Lookup
from extender.admission.subject import Subject
from extender.emulator.patching import json_patch
from extender.model.workload import WorkloadKind
from extender.wire.admission import Review

Json = dict[str, Any]
HERE = "runai-team-a"
TRAINING, INTERACTIVE, DISTRIBUTED = WorkloadKind.TRAINING, WorkloadKind.INTERACTIVE, WorkloadKind.DISTRIBUTED
INFERENCE, DEPLOYMENT = WorkloadKind.INFERENCE, WorkloadKind.DEPLOYMENT
LOCKED: Json = {"canEdit": False}
CONTROLLER: Json = {
    "user": "system:serviceaccount:kube-system:job-controller",
    "groups": ("system:serviceaccounts", "system:serviceaccounts:kube-system"),
}


def policy(
    spec: Any, *, kind: WorkloadKind = TRAINING, namespace: str = "runai", name: str = "p", created: str = ""
) -> Known:
    metadata = {"namespace": namespace, "name": name, "creationTimestamp": created or "2026-01-01T00:00:00Z"}
    return policies.read(kind, {"kind": kind.policy, "metadata": metadata, "spec": spec})


def lookup(*known: Known) -> Lookup:
    def of(kind: WorkloadKind, namespace: str) -> Sequence[Known]:
        return [
            one for one in known if one.obj["kind"] == kind.policy and one.obj["metadata"]["namespace"] == namespace
        ]

    return of


def context(*known: Known, **given: Any) -> Context:
    return Context(HERE, **{"gates": False, "wires": False, "policies": lookup(*known), **given})


def pod(*containers: Json, annotations: Json | None = None, labels: Json | None = None, **spec: Any) -> Json:
    metadata: Json = {"name": "p", "annotations": annotations or {}, "labels": labels or {}}
    made = list(containers) or [{"name": "c", "image": "x:1"}]
    return {"metadata": metadata, "spec": {"schedulerName": "runai-scheduler", "containers": made, **spec}}


def job(template: Json | None = None, **spec: Any) -> Json:
    return {"spec": {"template": template or pod(), **spec}}


def gpus(number: str) -> Json:
    return {"name": "c", "image": "x:1", "resources": {"limits": {"nvidia.com/gpu": number}}}


def review(obj: Json, kind: str = "Pod", **given: Any) -> Review:
    return Review("u", given.pop("operation", "CREATE"), kind, HERE, obj, **given)


def filled(obj: Json, *known: Known, kind: str = "Pod", **given: Any) -> Json:
    """The object as it will be stored; and a second look changes nothing."""
    given_context = context(*known)
    answer = rules.mutate(review(obj, kind, **given), given_context)
    assert answer.refusals == ()
    done: Json = json_patch(copy.deepcopy(obj), copy.deepcopy(list(answer.patch)))
    assert rules.mutate(review(done, kind, **given), given_context).patch == ()
    return done


def refusals(obj: Json, *known: Known, kind: str = "Pod", **given: Any) -> tuple[str, ...]:
    """Of the object as it is after what was left open is filled in."""
    done = filled(obj, *known, kind=kind, **given)
    return rules.validate(review(done, kind, **given), context(*known)).refusals


def spec_of(obj: Json) -> Json:
    found: Json = obj["spec"]
    return found


def main_of(obj: Json) -> Json:
    found: Json = obj["spec"]["containers"][0]
    return found


# What is filled in, and that whoever says something keeps it.

FILLED: dict[str, tuple[Json, Json, Json, Json]] = {
    # parameter: policy's part, the pod's container, pod's spec; what is added to the container or spec
    "image": ({"value": "y:2"}, {"image": ""}, {}, {"image": "y:2"}),
    "imagePullPolicy": ({"value": "always"}, {}, {}, {"imagePullPolicy": "Always"}),
    "command": ({"value": "sleep 'in finity'"}, {}, {}, {"command": ["sleep", "in finity"]}),
    "arguments": ({"value": "-a 1"}, {}, {}, {"args": ["-a", "1"]}),
    "workingDir": ({"value": "/w"}, {}, {}, {"workingDir": "/w"}),
    "stdin": ({"value": True}, {}, {}, {"stdin": True}),
    "tty": ({"value": True}, {}, {}, {"tty": True}),
    "cpu": ({"value": "0.5"}, {}, {}, {"resources": {"requests": {"cpu": "0.5"}}}),
    "cpuLimit": ({"value": 2}, {}, {}, {"resources": {"limits": {"cpu": "2"}}}),
    "memory": ({"value": "1Gi"}, {}, {}, {"resources": {"requests": {"memory": "1Gi"}}}),
    "memoryLimit": ({"value": "2Gi"}, {}, {}, {"resources": {"limits": {"memory": "2Gi"}}}),
    "gpu": ({"value": "2"}, {}, {}, {"resources": {"limits": {"nvidia.com/gpu": "2"}}}),
    "migProfile": ({"value": "1g.5gb"}, {}, {}, {"resources": {"limits": {"nvidia.com/mig-1g.5gb": "1"}}}),
    "environment": (
        {"items": {"B": {"value": "SECRET:s,k"}, "A": {"value": "1"}}},
        {"env": [{"name": "C", "value": "$(A)"}]},
        {},
        {
            "env": [
                {"name": "A", "value": "1"},
                {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
                {"name": "C", "value": "$(A)"},
            ]
        },
    ),
    "capabilities": (
        {"items": {"trace": {"value": "SYS_PTRACE"}}},
        {},
        {},
        {"securityContext": {"capabilities": {"add": ["SYS_PTRACE"]}}},
    ),
    "allowPrivilegeEscalation": ({"value": False}, {}, {}, {"securityContext": {"allowPrivilegeEscalation": False}}),
}


@pytest.mark.parametrize("name", FILLED)
def test_what_a_container_leaves_open_is_filled_in(name: str) -> None:
    part, container, spec, expected = FILLED[name]
    given = pod({"name": "c", "image": "x:1", **container}, **spec)
    assert main_of(filled(given, policy({name: part}))) == {**main_of(given), **expected}


SPECS: dict[str, tuple[Json, Json]] = {
    "nodeType": ({"value": "a100"}, {"nodeSelector": {"run.ai/type": "a100"}}),
    "hostIpc": ({"value": True}, {"hostIPC": True}),
    "hostNetwork": ({"value": True}, {"hostNetwork": True}),
    "runAsUid": ({"value": 500}, {"securityContext": {"runAsUser": 500}}),
    "runAsGid": ({"value": 500}, {"securityContext": {"runAsGroup": 500}}),
    "runAsUser": ({"value": True}, {"securityContext": {"runAsNonRoot": True}}),
    "supplementalGroups": ({"value": "1;20"}, {"securityContext": {"supplementalGroups": [1, 20]}}),
    "tolerations": (
        {"items": {"t": {"value": {"name": "t", "key": "k", "operator": "exists", "seconds": 30}}}},
        {"tolerations": [{"operator": "Exists", "key": "k", "tolerationSeconds": 30}]},
    ),
}


@pytest.mark.parametrize("name", SPECS)
def test_what_a_pod_leaves_open_is_filled_in(name: str) -> None:
    part, expected = SPECS[name]
    assert spec_of(filled(pod(), policy({name: part}))) == {**spec_of(pod()), **expected}


def test_labels_annotations_and_shares_are_filled_in() -> None:
    marks = {
        "labels": {"items": {"team": {"value": "a"}, "app": {"value": "theirs"}}},
        "annotations": {"items": {"note": {"value": "b"}}},
        "gpu": {"value": "0.5"},
    }
    done = filled(pod(labels={"app": "mine"}), policy(marks))
    assert done["metadata"]["labels"] == {"app": "mine", "team": "a"}
    assert done["metadata"]["annotations"] == {"note": "b", "gpu-fraction": "0.5"}
    pools = filled(pod(), policy({"nodePools": {"value": ["a", "b"]}}))
    assert pools["metadata"]["annotations"] == {"run.ai/node-pools": "a b"}
    memory = filled(pod(), policy({"gpuMemory": {"value": "1G"}}))
    assert memory["metadata"]["annotations"] == {"gpu-memory": "953"}


@pytest.mark.parametrize("number", ["0", "2"])
def test_who_says_how_many_gpus_keeps_that(number: str) -> None:
    assert main_of(filled(pod(gpus(number)), policy({"gpu": {"value": "1"}}))) == gpus(number)


@pytest.mark.parametrize("annotations", [{"gpu-fraction": "0.25"}, {"gpu-memory": "2000"}])
def test_who_asks_for_a_part_of_a_gpu_gets_no_whole_one(annotations: Json) -> None:
    given = pod(annotations=annotations)
    assert filled(given, policy({"gpu": {"value": "1"}, "gpuMemory": {"value": "1G"}})) == given


def test_a_gpu_by_policy_brings_its_cpu_and_memory() -> None:
    answer = rules.mutate(review(pod()), context(policy({"gpu": {"value": "2"}}), factors=Factors(1000, 100)))
    (operation,) = answer.patch
    assert operation["value"]["requests"] == {"cpu": "2", "memory": "200Mi"}


def test_the_container_with_the_gpu_is_the_one_that_is_filled_in() -> None:
    spec = {"environment": {"items": {"A": {"value": "1"}}}, "cpu": {"value": "3"}}
    done = filled(pod({"name": "side", "image": "s"}, gpus("1")), policy(spec))
    side, main = done["spec"]["containers"]
    assert side == {"name": "side", "image": "s"}
    assert (main["env"], main["resources"]["requests"]) == ([{"name": "A", "value": "1"}], {"cpu": "3"})


def test_what_the_api_server_filled_in_was_left_open() -> None:
    spec = {"backoffLimit": {"value": 2}, "imagePullPolicy": {"value": "Always"}, "completions": {"value": 4}}
    template = pod({"name": "c", "image": "x:1", "imagePullPolicy": "IfNotPresent"})
    done = filled(job(template, backoffLimit=6, completions=1), policy(spec), kind="Job.batch")
    assert (done["spec"]["backoffLimit"], done["spec"]["completions"]) == (2, 1)
    assert main_of(done["spec"]["template"])["imagePullPolicy"] == "Always"
    never = pod({"name": "c", "image": "x:1", "imagePullPolicy": "Never"})
    kept = filled(job(never, backoffLimit=3), policy(spec), kind="Job.batch")
    assert (kept["spec"]["backoffLimit"], main_of(kept["spec"]["template"])["imagePullPolicy"]) == (3, "Never")


@pytest.mark.parametrize(
    ("image", "usual"),
    [
        ("x", "Always"),
        ("x:latest", "Always"),
        ("host:5000/x", "Always"),
        ("x:1", "IfNotPresent"),
        ("x@sha256:0", "IfNotPresent"),
        ("x:latest@sha256:0", "Always"),
    ],
)
def test_what_the_api_server_takes_for_the_pull_policy(image: str, usual: str) -> None:
    given = pod({"name": "c", "image": image, "imagePullPolicy": usual})
    assert main_of(filled(given, policy({"imagePullPolicy": {"value": "Never"}})))["imagePullPolicy"] == "Never"


def test_preemptible_is_said_by_the_label_that_the_scheduler_reads() -> None:
    spec = {"preemptible": {"value": True, "rules": LOCKED}}
    known = policy(spec, kind=INTERACTIVE)
    done = filled(job(), known, kind="StatefulSet.apps")
    assert done["spec"]["template"]["metadata"]["labels"] == {"priorityClassName": "interactive-preemptible"}
    build = job(pod(priorityClassName="build"))
    assert refusals(build, known, kind="StatefulSet.apps") == ("preemptible: cannot be edited",)


# What is refused.

REFUSED: dict[str, tuple[Json, Json, tuple[str, ...]]] = {
    "at most": ({"gpu": {"rules": {"max": "4"}}}, pod(gpus("5")), ("gpu: must be no greater than 4",)),
    "just as many": ({"gpu": {"rules": {"max": "4"}}}, pod(gpus("4")), ()),
    "of all containers": (
        {"gpu": {"rules": {"max": "4"}}},
        pod(gpus("3"), {**gpus("2"), "name": "d"}),
        ("gpu: must be no greater than 4",),
    ),
    "M3-5": (
        {"gpu": {"rules": {"required": True, "min": "1", "max": "4"}, "value": "1"}},
        pod(annotations={"gpu-fraction": "0.5"}),
        ("gpu: must be no less than 1",),
    ),
    "half of each of three": (
        {"gpu": {"rules": {"max": "1"}}},
        pod(annotations={"gpu-fraction": "0.5", "gpu-fraction-num-devices": "3"}),
        ("gpu: must be no greater than 1",),
    ),
    "by memory none is allowed either": (
        {"gpu": {"rules": LOCKED, "value": "0"}},
        pod(annotations={"gpu-memory": "1000"}),
        ("gpu: cannot be edited",),
    ),
    "no GPU where none is allowed": ({"gpu": {"rules": LOCKED, "value": "0"}}, pod(), ()),
    "no GPU where at least one is": ({"gpu": {"rules": {"min": "1"}}}, pod(), ()),
    "memory of all devices": (
        {"gpuMemory": {"rules": {"max": "3000Mi"}}},
        pod(annotations={"gpu-memory": "2000", "gpu-fraction-num-devices": "2"}),
        ("gpuMemory: must be no greater than 3000Mi",),
    ),
    "each profile": (
        {"migProfile": {"rules": {"options": [{"value": "1g.5gb"}]}}},
        pod({"name": "c", "resources": {"limits": {"nvidia.com/mig-1g.5gb": 1, "nvidia.com/mig-7g.40gb": 1}}}),
        ("migProfile: must be a valid value (one of: 1g.5gb)",),
    ),
    "all at once, by path": (
        {"nodeType": {"rules": {"required": True}}, "cpu": {"rules": {"max": "2"}}, "gpu": {"rules": {"max": "4"}}},
        pod({"name": "c", "resources": {"limits": {"nvidia.com/gpu": "5"}, "requests": {"cpu": "2500m"}}}),
        (
            "cpu: must be no greater than 2",
            "gpu: must be no greater than 4",
            "nodeType: cannot be blank",
        ),
    ),
    "what no pod can say": ({"name": {"rules": {"required": True}}, "ports": {"rules": {"required": True}}}, pod(), ()),
    "nor a pod without a Job": ({"backoffLimit": {"rules": {"required": True, **LOCKED}, "value": 1}}, pod(), ()),
    "another variable": (
        {"environment": {"rules": {"canAdd": False}, "items": {"A": {"value": "1"}}}},
        pod({"name": "c", "env": [{"name": "B", "value": "2"}]}),
        ("environment.B: cannot be added",),
    ),
    "an override": (
        {"environment": {"items": {"A": {"value": "1", "rules": LOCKED}}}},
        pod({"name": "c", "env": [{"name": "A", "value": "2"}]}),
        ("environment.A: cannot be edited",),
    ),
    "an override from elsewhere": (
        {"environment": {"items": {"A": {"value": "1", "rules": LOCKED}}}},
        pod({"name": "c", "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}),
        ("environment.A: cannot be edited",),
    ),
    "the same again": (
        {"environment": {"items": {"A": {"value": "SECRET:s,k", "rules": LOCKED}}}},
        pod({"name": "c", "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}),
        (),
    ),
    "another toleration": (
        {"tolerations": {"rules": {"canAdd": False}, "items": {"t": {"value": {"key": "k", "operator": "Exists"}}}}},
        pod(tolerations=[{"key": "k", "operator": "Exists"}, {"key": "k", "effect": "NoSchedule", "value": "v"}]),
        ("tolerations.k: cannot be added",),
    ),
    "what every pod tolerates": (
        {"tolerations": {"rules": {"canAdd": False}}},
        pod(tolerations=[{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "tolerationSeconds": 300}]),
        (),
    ),
    "no labels but those of the system": (
        {"labels": {"rules": {"canAdd": False}}, "annotations": {"rules": {"canAdd": False}}},
        pod(
            labels={"batch.kubernetes.io/job-name": "j", "job-name": "j", "x/y": "z"},
            annotations={"gpu-fraction": "0.5"},
        ),
        ("labels.x/y: cannot be added",),
    ),
    "no host network": ({"hostNetwork": {"rules": LOCKED}}, pod(hostNetwork=True), ("hostNetwork: cannot be edited",)),
    "which is what all others say": ({"hostNetwork": {"rules": {**LOCKED, "required": True}}}, pod(), ()),
    "a pull policy": (
        {"imagePullPolicy": {"rules": {"options": [{"value": "Always"}]}}},
        pod({"name": "c", "image": "x:1", "imagePullPolicy": "IfNotPresent"}),
        ("imagePullPolicy: must be a valid value (one of: Always)",),
    ),
    "a pull policy that nobody chose": (
        {"imagePullPolicy": {"rules": LOCKED}},
        pod({"name": "c", "image": "x:1", "imagePullPolicy": "IfNotPresent"}),
        (),
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case: str) -> None:
    spec, given, lines = REFUSED[case]
    assert refusals(given, policy(spec)) == lines


def box(name: str, image: str = "x:1", *, cpu: str = "", **given: Any) -> Json:
    return {"name": name, "image": image, **({"resources": {"requests": {"cpu": cpu}}} if cpu else {}), **given}


ONLY_X: Json = {"image": {"rules": {"options": [{"value": "x:1"}]}}}
LOCKED_IMAGE: Json = {"image": {"rules": LOCKED, "value": "x:1"}}
ALWAYS: Json = {"imagePullPolicy": {"rules": {"options": [{"value": "Always"}]}}}
NO_OPTION = ("image: must be a valid value (one of: x:1)",)
TOO_MUCH = ("cpu: must be no greater than 4",)


@pytest.mark.parametrize("where", ["containers", "initContainers"])
@pytest.mark.parametrize(
    ("spec", "beside", "lines"),
    [
        (ONLY_X, box("b", "evil:1"), NO_OPTION),
        (ONLY_X, box("b"), ()),
        (LOCKED_IMAGE, box("b", "evil:1"), ("image: cannot be edited",)),
        (LOCKED_IMAGE, box("b"), ()),
        (LOCKED_IMAGE, box("b", ""), ()),
        (ALWAYS, box("b", imagePullPolicy="Never"), ("imagePullPolicy: must be a valid value (one of: Always)",)),
        (ALWAYS, box("b", imagePullPolicy="Always"), ()),
    ],
)
def test_images_are_those_of_every_container(spec: Json, beside: Json, lines: tuple[str, ...], where: str) -> None:
    made = pod(box("a", imagePullPolicy="Always"))
    made["spec"][where] = [*made["spec"].get(where, ()), beside]
    assert refusals(made, policy(spec)) == lines
    assert refusals(job(made), policy(spec), kind="Job.batch") == lines


def test_every_container_without_an_image_gets_the_policys_and_no_other() -> None:
    made = pod(box("a", ""), box("b", "y:1"), initContainers=[box("i", "")])
    done = filled(made, policy({"image": {"value": "x:1"}}))["spec"]
    images = [one["image"] for one in (*done["containers"], *done["initContainers"])]
    assert images == ["x:1", "y:1", "x:1"]


def test_what_is_usual_to_pull_is_so_for_each_image() -> None:
    made = pod(box("a", "x", imagePullPolicy="Always"), box("b", "y:1", imagePullPolicy="IfNotPresent"))
    assert refusals(made, policy({"imagePullPolicy": {"rules": LOCKED}})) == ()
    odd = pod(box("a", "x", imagePullPolicy="Always"), box("b", "y:1", imagePullPolicy="Always"))
    assert refusals(odd, policy({"imagePullPolicy": {"rules": LOCKED}})) == ("imagePullPolicy: cannot be edited",)
    done = filled(made, policy({"imagePullPolicy": {"value": "Never"}}))
    assert [one["imagePullPolicy"] for one in done["spec"]["containers"]] == ["Never", "Never"]
    # One that has no image yet: what stands there is of no image.
    open_ = pod(box("a", "", imagePullPolicy="IfNotPresent"), box("b", "y:1", imagePullPolicy="Always"))
    done = filled(open_, policy({"image": {"value": "x"}, "imagePullPolicy": {"value": "Never"}}))
    assert [one["imagePullPolicy"] for one in done["spec"]["containers"]] == ["Never", "Always"]


CPU_AT_MOST: dict[str, tuple[Json, tuple[str, ...]]] = {
    "a sidecar": (pod(box("a", cpu="1"), box("b", cpu="64")), TOO_MUCH),
    "together": (pod(box("a", cpu="2500m"), box("b", cpu="1600m")), TOO_MUCH),
    "just as much": (pod(box("a", cpu="2500m"), box("b", cpu="1500m")), ()),
    "beside one that says nothing": (pod(box("a"), box("b", cpu="64")), TOO_MUCH),
    "by its limit": (pod(box("a"), {"name": "b", "resources": {"limits": {"cpu": "64"}}}), TOO_MUCH),
    "an init container": (pod(box("a", cpu="1"), initContainers=[box("i", cpu="5")]), TOO_MUCH),
    "one after the other": (pod(box("a", cpu="4"), initContainers=[box("i", cpu="3"), box("j", cpu="4")]), ()),
    "one that goes on": (pod(box("a", cpu="2"), initContainers=[box("i", cpu="3", restartPolicy="Always")]), TOO_MUCH),
    "of the pod": (pod(box("a", cpu="1"), resources={"requests": {"cpu": "64"}}), TOO_MUCH),
    "no number": (
        pod(box("a", cpu="1"), box("b", cpu="much")),
        ("cpu request is not a quantity", "cpu: must be a quantity"),
    ),
}


@pytest.mark.parametrize("case", CPU_AT_MOST)
def test_cpu_is_that_of_the_containers_together(case: str) -> None:
    made, lines = CPU_AT_MOST[case]
    assert refusals(made, policy({"cpu": {"rules": {"max": "4"}}})) == lines


def test_memory_and_limits_are_those_of_the_containers_together() -> None:
    half = {"resources": {"limits": {"cpu": "1", "memory": "1500Mi"}}}
    made = pod(box("a", **half), box("b", **half))
    spec = {name: {"rules": {"max": most}} for name, most in (("memory", "2Gi"), ("memoryLimit", "2Gi"))}
    assert refusals(made, policy({**spec, "cpuLimit": {"rules": {"max": "1"}}})) == (
        "cpuLimit: must be no greater than 1",
        "memory: must be no greater than 2Gi",
        "memoryLimit: must be no greater than 2Gi",
    )
    assert refusals(made, policy({"memory": {"rules": {"max": "3000Mi"}}})) == ()
    # Each of them is a quantity that Kubernetes takes, and their sum is none.
    vast = {"resources": {"requests": {"memory": "3Ei"}}}
    assert refusals(pod(box("a", **vast), box("b", **vast)), policy({"memory": {"rules": {"max": "2Gi"}}})) == (
        "memory: must be a quantity",
    )


def test_a_default_of_cpu_is_for_the_main_container_and_counts_with_what_others_say() -> None:
    spec = {"cpu": {"value": "3", "rules": {"max": "4"}}}
    for side, lines in (("1", ()), ("2", TOO_MUCH)):
        made = pod(box("a"), box("b", cpu=side))
        assert main_of(filled(made, policy(spec)))["resources"] == {"requests": {"cpu": "3"}}
        assert refusals(made, policy(spec)) == lines
    locked = policy({"cpu": {"value": "3", "rules": LOCKED}})
    assert refusals(pod(box("a"), box("b", cpu="1")), locked) == ("cpu: cannot be edited",)
    assert refusals(pod(box("a"), box("b")), locked) == ()


def test_what_a_job_says_beside_its_template_is_judged() -> None:
    spec = {"parallelism": {"rules": {"max": 2}}, "completions": {"rules": LOCKED, "value": 4}}
    given = job(parallelism=3, completions=1)
    lines = ("completions: cannot be edited", "parallelism: must be no greater than 2")
    assert refusals(given, policy(spec), kind="Job.batch") == lines
    cron = {"spec": {"jobTemplate": given}}
    assert refusals(cron, policy(spec), kind="CronJob.batch") == lines


SECURE: Json = {
    "allowPrivilegeEscalation": {"rules": LOCKED, "value": False},
    "capabilities": {"rules": {"canAdd": False}, "items": {"trace": {"value": "SYS_PTRACE"}}},
    "runAsUser": {"rules": LOCKED, "value": True},
    "runAsUid": {"rules": LOCKED, "value": 500},
    "hostIpc": {"rules": LOCKED, "value": False},
}
BACK_DOORS: dict[str, tuple[Json, tuple[str, ...]]] = {
    "escalation": ({"allowPrivilegeEscalation": True}, ("allowPrivilegeEscalation: cannot be edited",)),
    "privileged": (
        {"privileged": True},
        ("allowPrivilegeEscalation: cannot be edited", "capabilities.ALL: cannot be added"),
    ),
    "an admin": (
        {"capabilities": {"add": ["CAP_SYS_ADMIN"]}},
        ("allowPrivilegeEscalation: cannot be edited", "capabilities.SYS_ADMIN: cannot be added"),
    ),
    "another capability": ({"capabilities": {"add": ["NET_ADMIN"]}}, ("capabilities.NET_ADMIN: cannot be added",)),
    "another user": ({"runAsUser": 501}, ("runAsUid: cannot be edited",)),
    "root": ({"runAsUser": 0}, ("runAsUid: cannot be edited", "runAsUser: cannot be edited")),
    "the same user": ({"runAsUser": 500, "capabilities": {"add": ["SYS_PTRACE"]}}, ()),
}


@pytest.mark.parametrize("where", ["first", "second", "init"])
@pytest.mark.parametrize("case", BACK_DOORS)
def test_no_container_is_a_back_door_run_5676(case: str, where: str) -> None:
    """RUN-5676: a job that was made from another one (a clone) bypassed the security settings."""
    security, lines = BACK_DOORS[case]
    bad = {"name": "b", "image": "x:1", "securityContext": security}
    good = {"name": "g", "image": "x:1"}
    given = {
        "first": pod(bad, good),
        "second": pod(good, bad),
        "init": pod(good, initContainers=[bad]),
    }[where]
    assert refusals(given, policy(SECURE)) == lines
    # A clone takes the whole pod, what was filled in included; the policy is stricter by now.
    clone = filled(given)
    assert refusals(clone, policy(SECURE)) == lines
    assert refusals(job(clone), policy(SECURE), kind="Job.batch") == lines


def test_the_pods_own_security_context_is_no_back_door_either() -> None:
    given = pod(hostIPC=True, securityContext={"runAsUser": 0})
    assert refusals(given, policy(SECURE)) == (
        "hostIpc: cannot be edited",
        "runAsUid: cannot be edited",
        "runAsUser: cannot be edited",
    )


def test_a_locked_default_that_somebody_took_off_again_is_missed() -> None:
    # Another webhook, after ours.
    lines = ("allowPrivilegeEscalation: cannot be edited", "runAsUid: cannot be edited", "runAsUser: cannot be edited")
    assert rules.validate(review(pod()), context(policy(SECURE))).refusals == lines


# Which policy it is.


def kinds(maker: str, **given: Any) -> tuple[WorkloadKind, ...]:
    return policies.kinds_of(maker, Subject(pod(**given)))


def test_the_kind_of_work_by_owner_and_by_priority_class() -> None:
    assert kinds("") == kinds("Job") == kinds("CronJob") == kinds("RunaiJob") == (TRAINING,)
    assert kinds("StatefulSet") == (INTERACTIVE,)
    assert kinds("Deployment") == kinds("ReplicaSet") == (INFERENCE, DEPLOYMENT)
    assert kinds("PyTorchJob") == (DISTRIBUTED,)
    for name in ("build", "interactive-preemptible", "build-preemptible"):
        assert kinds("Job", priorityClassName=name) == (INTERACTIVE,)
        assert kinds("Job", labels={"priorityClassName": name}) == (INTERACTIVE,)
    assert kinds("", priorityClassName="inference") == (INFERENCE, DEPLOYMENT)
    assert kinds("StatefulSet", priorityClassName="train") == (INTERACTIVE,)


def limit(number: int, **given: Any) -> Known:
    return policy({"gpu": {"rules": {"max": number}}}, **given)


def bound(*known: Known, kind: str = "Job.batch") -> tuple[str, ...]:
    return tuple(line.rpartition(" ")[2] for line in refusals(job(pod(gpus("8"))), *known, kind=kind))


def test_the_projects_own_policy_replaces_the_global_one_m7() -> None:
    assert bound(limit(1)) == ("1",)
    assert bound(limit(1), policy({}, namespace=HERE)) == ()
    assert bound(limit(1), limit(2, namespace=HERE)) == ("2",)
    assert bound(limit(1), limit(2, namespace="runai-team-b")) == ("1",)
    assert bound(limit(1, kind=INTERACTIVE)) == ()


def test_of_several_in_a_namespace_the_oldest_counts_then_the_first_by_name() -> None:
    young, old = (limit(n, name=f"p{n}", created=f"202{6 - n}-01-01T00:00:00Z") for n in (1, 2))
    assert bound(young, old) == bound(old, young) == ("2",)
    assert bound(limit(2, name="b"), limit(1, name="a")) == ("1",)


def test_a_policy_under_either_name_of_serving_is_meant_for_it() -> None:
    deployment = {"kind": "Deployment.apps"}
    assert bound(limit(1, kind=DEPLOYMENT), **deployment) == ("1",)
    assert bound(limit(1, kind=DEPLOYMENT), limit(2, kind=INFERENCE), **deployment) == ("2",)
    # The project's own, by whichever name, before that of all projects.
    assert bound(limit(1, kind=DEPLOYMENT, namespace=HERE), limit(2, kind=INFERENCE), **deployment) == ("1",)


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ([], "spec: must be an object"),
        ({"gpus": {}}, "gpus: unknown field (did you mean gpu?)"),
        ({"gpu": {"rules": {"min": "3", "max": "2"}}}, "gpu.rules.min: must be no greater than max, 3 is more than 2"),
        ({"gpu": {"value": "x"}}, 'gpu.value: must be a number, not "x"'),
    ],
)
def test_a_policy_that_nobody_can_read_refuses_everybody_with_a_sentence(spec: Any, text: str) -> None:
    expected = (f"the TrainingPolicy runai/p cannot be enforced: {text}",)
    given = context(policy(spec))
    for obj, kind in ((pod(), "Pod"), (job(), "Job.batch")):
        assert rules.mutate(review(obj, kind), given).refusals == expected
        assert rules.validate(review(obj, kind), given).refusals == expected


def test_a_policy_without_a_spec_says_nothing() -> None:
    assert filled(pod(), policy(None)) == pod()


# Controllers.


def owned(by: str, api: str = "batch/v1", **given: Any) -> Json:
    obj = pod(gpus("8"), **given)
    obj["metadata"]["ownerReferences"] = [{"apiVersion": api, "kind": by, "name": "o", "controller": True}]
    return obj


def test_a_running_workload_keeps_replacing_its_pods_when_the_policy_has_changed() -> None:
    known = policy({"gpu": {"rules": {"max": 1}}, "nodeType": {"value": "a100"}})
    given = owned("Job")
    assert filled(given, known, **CONTROLLER) == given
    assert refusals(given, known, **CONTROLLER) == ()
    made = job(pod(gpus("8")))
    assert filled(made, known, kind="ReplicaSet.apps", **CONTROLLER) == made
    assert refusals(made, known, kind="ReplicaSet.apps", **CONTROLLER) == ()


def test_an_owner_reference_of_ones_own_is_no_way_out() -> None:
    assert refusals(owned("Job"), limit(1)) == ("gpu: must be no greater than 1",)
    own_account: Json = {"groups": (f"system:serviceaccounts:{HERE}",)}
    assert refusals(owned("Job"), limit(1), **own_account) == ("gpu: must be no greater than 1",)


def test_where_controllers_run_as_administrators_the_owner_says_what_is_a_copy() -> None:
    """A launcher without a GPU would get the policy's default: its workload has been judged, and says none."""
    admin: Json = {"user": "kubernetes-admin", "groups": ("system:masters", "system:authenticated")}
    known = policy({"gpu": {"value": "1"}})
    launcher = job(pod())
    assert filled(launcher, known, kind="RunaiJob.run.ai", **admin) != launcher, "one of the administrator's own"
    owner = {
        "apiVersion": "run.ai/v2alpha1",
        "kind": "DistributedWorkload",
        "name": "w",
        "uid": "u",
        "controller": True,
    }
    launcher["metadata"] = {"name": "j", "ownerReferences": [owner]}
    assert filled(launcher, known, kind="RunaiJob.run.ai", **admin) == launcher
    assert filled(launcher, known, kind="RunaiJob.run.ai", user="alice", groups=("team",)) != launcher
    assert refusals(owned("Job"), limit(1), **admin) == ()


def test_pods_of_what_nobody_has_judged_are_judged() -> None:
    daemon = owned("DaemonSet", "apps/v1")
    assert refusals(daemon, limit(1), **CONTROLLER) == ("gpu: must be no greater than 1",)
    mine = owned("Job", "example.com/v1")
    assert refusals(mine, limit(1), **CONTROLLER) == ("gpu: must be no greater than 1",)
    operator = owned("PyTorchJob", "kubeflow.org/v1")
    account: Json = {"groups": ("system:serviceaccounts", "system:serviceaccounts:kubeflow")}
    assert refusals(operator, limit(1, kind=DISTRIBUTED), **account) == ("gpu: must be no greater than 1",)


@pytest.mark.parametrize("by", ["PyTorchJob", "StatefulSet", "Deployment"])
def test_an_owner_reference_of_ones_own_leads_to_no_other_policy(by: str) -> None:
    mine = owned(by, "kubeflow.org/v1")
    elsewhere = [limit(8, kind=kind) for kind in (DISTRIBUTED, INTERACTIVE, INFERENCE)]
    for account in ({}, {"user": "alice", "groups": ("team",)}, {"groups": (f"system:serviceaccounts:{HERE}",)}):
        assert refusals(mine, limit(1), *elsewhere, **account) == ("gpu: must be no greater than 1",)
    for account in (CONTROLLER, {"groups": ("system:masters",)}):
        assert refusals(mine, limit(1), *elsewhere, **account) == ()
    # Said by the priority class, it is so whoever owns it.
    build = owned(by, "kubeflow.org/v1", priorityClassName="build")
    assert refusals(build, limit(1), limit(2, kind=INTERACTIVE)) == ("gpu: must be no greater than 2",)


def test_pods_that_their_namespace_makes_ours_are_judged_whoever_makes_them() -> None:
    theirs = owned("Job", schedulerName="default-scheduler")
    answer = rules.mutate(review(theirs, **CONTROLLER), context(limit(1), enforced=True))
    assert answer.refusals == ("gpu: must be no greater than 1",)
    assert rules.mutate(review(theirs, **CONTROLLER), context(limit(8), enforced=True)).patch
    assert rules.mutate(review(theirs, **CONTROLLER), context(limit(1))).patch == ()


# Changes.


def test_a_changed_template_is_judged_and_one_that_stays_is_not() -> None:
    old = job(pod(gpus("8")), replicas=1)
    scaled = {"spec": {**old["spec"], "replicas": 2}}
    changed = job(pod(gpus("9")), replicas=1)
    for obj, lines in ((scaled, ()), (changed, ("gpu: must be no greater than 1",))):
        asked = review(obj, "Deployment.apps", operation="UPDATE", old=old)
        assert rules.validate(asked, context(limit(1, kind=INFERENCE))).refusals == lines


def test_the_systems_own_namespace_and_pods_of_others_have_no_policy() -> None:
    theirs = pod(gpus("8"), schedulerName="default-scheduler")
    assert filled(theirs, limit(1)) == theirs
    assert refusals(theirs, limit(1)) == ()
    system = Review("u", "CREATE", "Pod", "runai", pod(gpus("8")))
    assert rules.validate(system, context(limit(1))).refusals == ()


def test_folders_of_nodes_are_no_way_around_a_policy_that_forbids_them_m6() -> None:
    """Plain pods too: every mount is judged, of every container, and a volume that nobody mounts yet."""
    known = policy(
        {
            "volumes": {
                "itemRules": {"nfsServer": {"required": True}, "readOnly": {"canEdit": False}},
                "items": {"DEFAULTS": {"value": {"nfsServer": "s", "readOnly": True}}},
            }
        }
    )
    container = {"name": "c", "image": "x:1", "volumeMounts": [{"name": "v", "mountPath": "/v", "readOnly": True}]}
    sidecar = {**container, "name": "d", "volumeMounts": [{"name": "v", "mountPath": "/w"}]}
    nfs = [{"name": "v", "nfs": {"server": "s", "path": "/p"}}, {"name": "e", "emptyDir": {}}]
    asked = context(known)

    def said(made: Json) -> tuple[str, ...]:
        return rules.validate(review(made), asked).refusals

    assert said(pod(container, volumes=nfs)) == ()
    assert said(pod(container, sidecar, volumes=nfs)) == ("volumes.v-1.readOnly: cannot be edited",)
    assert said(pod(container, volumes=[{"name": "v", "hostPath": {"path": "/"}}])) == (
        "volumes.v.nfsServer: cannot be blank",
    )
    loose = pod(volumes=[{"name": "v", "hostPath": {"path": "/"}}])
    assert "volumes.v.nfsServer: cannot be blank" in said(loose)
    assert (
        rules.mutate(
            review(loose),
            context(policy({"volumes": {"items": {"a": {"value": {"sourcePath": "/a", "targetPath": "/b"}}}}})),
        ).patch
        == ()
    )
    fixed = policy(
        {
            "volumes": {
                "rules": {"canAdd": False},
                "items": {
                    "a": {
                        "rules": {"canEdit": False},
                        "value": {"sourcePath": "/v", "targetPath": "/v", "readOnly": True},
                    }
                },
            }
        }
    )
    same = pod(container, volumes=[{"name": "v", "hostPath": {"path": "/v"}}])
    assert rules.validate(review(same), context(fixed)).refusals == ()
    other = pod(container, volumes=[{"name": "v", "hostPath": {"path": "/x"}}])
    assert rules.validate(review(other), context(fixed)).refusals == ("volumes.v: cannot be added",)
