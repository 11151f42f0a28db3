"""`runai describe workload` and `runai list workloads`: the texts of "Submitting Workloads", letter for letter."""

from __future__ import annotations

from typing import Any

import pytest

from extender.cli.runai.describe import parse_status, written_version
from extender.cli.runai.description import describe, written_values
from extender.cli.runai.output import age, printable, table
from extender.cli.runai.session import Place
from extender.cli.runai.workloads import rendered
from extender.model import timestamps

Json = dict[str, Any]

NOW = timestamps.seconds("2026-01-01T12:29:30Z")
THEN = "2026-01-01T12:00:00Z"
TEAM_A = Place("team-a", "runai-team-a")

TEMPLATE = """\
──────◆  team-a-jupyter-defaults  ◆──────

Project:  team-a
image:    jupyter/scipy-notebook
jupyter:  true
"""

# The seed has "..." where the pods are counted here.
SUBMISSION = """\
──────◆  my-jupyter-job  ◆──────

Project:        ofer1e
gpu:            1
jobNamePrefix:  jupyter

Status:  Submitted

Events: 

AGE  TYPE  MESSAGE
---  ----  -------
29m  Info  all the resources were created successfully

Created Resources: 

KIND       VERSION    NAMESPACE     NAME
----       -------    ---------     ----
ConfigMap  v1         runai-ofer1e  jupyter-1
RunaiJob   run.ai/v1  runai-ofer1e  jupyter-1
Service    v1         runai-ofer1e  jupyter-1-jupyter

Created job: 

Name: jupyter-1
Namespace: runai-ofer1e
Type: Interactive
Status: Running
Running Pods: 1
Pending Pods: 0
Pods:
POD            STATUS   TYPE         AGE  NODE
jupyter-1-0-0  RUNNING  INTERACTIVE  29m  dev-ofer-high-cpu/10.0.1.7
"""  # noqa: W291  as the seed has it


def workload(name: str, spec: Json, status: Json | None = None, **metadata: Any) -> Json:
    return {"metadata": {"name": name, **metadata}, "spec": spec, "status": status or {}}


def submitted() -> Json:
    def made(kind: str, version: str, name: str) -> Json:
        return {"kind": kind, "version": version, "namespace": "runai-ofer1e", "name": name}

    return {
        "phase": "Submitted",
        "events": [{"time": THEN, "type": "Info", "message": "all the resources were created successfully"}],
        "createdResources": [
            made("Service", "v1", "jupyter-1-jupyter"),
            made("RunaiJob", "run.ai/v1", "jupyter-1"),
            made("ConfigMap", "v1", "jupyter-1"),
        ],
        "job": {
            "name": "jupyter-1",
            "namespace": "runai-ofer1e",
            "kind": "RunaiJob",
            "version": "run.ai/v1",
            "type": "Interactive",
            "status": "Running",
            "runningPods": 1,
            "pods": [
                {"name": "jupyter-1-0-0", "status": "Running", "node": "dev-ofer-high-cpu/10.0.1.7", "created": THEN}
            ],
        },
        "baseWorkload": "runai-ofer1e/team-a-jupyter-defaults",
        "values": [
            {"parameter": "gpu", "value": '"1"', "origin": "workload"},
            {"parameter": "jupyter", "value": "true", "origin": "base"},
            {"parameter": "ports.admin", "value": '{"container":30100,"external":8080}', "origin": "policy"},
        ],
    }


MY_JUPYTER_JOB = {
    "baseWorkload": "team-a-jupyter-defaults",
    "gpu": {"value": "1"},
    "jobNamePrefix": {"value": "jupyter"},
}


def described(belongs_to: str, obj: Json, *, origins: bool = False) -> str:
    return describe(belongs_to, obj, parse_status(obj), NOW, origins=origins)


def test_a_template_is_its_values() -> None:
    spec = {"usage": "Template", "jupyter": {"value": True}, "image": {"value": "jupyter/scipy-notebook"}}
    assert described("team-a", workload("team-a-jupyter-defaults", spec)) == TEMPLATE


def test_a_submission_is_what_became_of_it_too() -> None:
    assert described("ofer1e", workload("my-jupyter-job", MY_JUPYTER_JOB, submitted())) == SUBMISSION


def test_origins_stand_between_the_two() -> None:
    text = described("ofer1e", workload("my-jupyter-job", MY_JUPYTER_JOB, submitted()), origins=True)
    added = """\
Base workload:  runai-ofer1e/team-a-jupyter-defaults
Policy:         none

Values: 

PARAMETER    VALUE       ORIGIN
---------    -----       ------
gpu          1           workload
jupyter      true        base
ports.admin  30100:8080  policy

"""  # noqa: W291  as "Events: "
    before, after = SUBMISSION.split("Status:  Submitted", 1)
    assert text == f"{before}{added}Status:  Submitted{after}"


def test_a_submission_that_nobody_has_looked_at_is_pending() -> None:
    assert described("p", workload("w", {"gpu": {"value": 1}})).endswith("gpu:      1\n\nStatus:  Pending\n")


@pytest.mark.parametrize(
    ("spec", "shown"),
    [
        ({"gpu": {"value": "0.5"}}, {"gpu": "0.5"}),
        ({"jobType": "MPI", "workers": {"value": 2}}, {"jobType": "MPI", "workers": "2"}),
        ({"nodePools": {"value": ["a", "b"]}}, {"nodePools": "a, b"}),
        (
            {"ports": {"items": {"admin-port-a": {"value": {"container": 30100, "external": 8100}}}}},
            {"ports.admin-port-a": "30100:8100"},
        ),
        ({"ports": {"items": {"web": {"value": {"container": 80}}}}}, {"ports.web": "80"}),
        ({"ports": {"items": {"old": {"deleted": True}}}}, {"ports.old": "(deleted)"}),
        ({"environment": {"items": {"URL": {"value": "http://h:80/?a=b"}}}}, {"environment.URL": "http://h:80/?a=b"}),
        (
            {"volumes": {"items": {"d": {"value": {"targetPath": "/d", "sourcePath": "/s", "readOnly": True}}}}},
            {"volumes.d": "readOnly=true, sourcePath=/s, targetPath=/d"},
        ),
        ({"pyTorchJob": {"value": {"minReplicas": 1}}}, {"pyTorchJob": "minReplicas=1"}),
        ({"command": {"value": "sh -c 'a\nb'"}}, {"command": "sh -c 'a\\nb'"}),
        ({"usage": "Submit", "baseWorkload": "t", "gpu": None, "cpu": {}}, {}),
    ],
)
def test_a_value_is_shown_as_it_was_written(spec: Json, shown: dict[str, str]) -> None:
    assert dict(written_values(spec)) == shown


def managed(version: str, time: str, fields: Json) -> Json:
    return {"apiVersion": version, "time": time, "fieldsV1": fields}


@pytest.mark.parametrize(
    ("metadata", "version"),
    [
        ({}, "v2alpha1"),
        ({"managedFields": [managed("run.ai/v1alpha1", THEN, {"f:spec": {}})]}, "v1alpha1"),
        # The controller's status is no spec, and the last one counts.
        (
            {
                "managedFields": [
                    managed("run.ai/v2alpha1", "2026-01-01T12:00:05Z", {"f:status": {}}),
                    managed("run.ai/v1alpha1", "2026-01-01T12:00:03Z", {"f:spec": {}}),
                    managed("run.ai/v2alpha1", "2026-01-01T12:00:01Z", {"f:spec": {}}),
                ]
            },
            "v1alpha1",
        ),
        (
            {
                "annotations": {
                    "kubectl.kubernetes.io/last-applied-configuration": '{"apiVersion":"run.ai/v1alpha1","spec":{}}'
                }
            },
            "v1alpha1",
        ),
        ({"annotations": {"kubectl.kubernetes.io/last-applied-configuration": "no JSON"}}, "v2alpha1"),
        ({"managedFields": [managed("run.ai/v9", THEN, {"f:spec": {}})]}, "v2alpha1"),
    ],
)
def test_the_spelling_is_that_of_the_last_writer(metadata: Json, version: str) -> None:
    assert written_version(workload("w", {}, **metadata)) == version


def test_the_list_of_the_seed() -> None:
    own = [
        workload("team-a-jupyter-defaults", {"usage": "Template"}),
        workload("my-jupyter-job", {"gpu": {"value": "1"}}),
    ]
    assert rendered(TEAM_A, own, []) == (
        "WORKLOAD                   USAGE     PROJECT/GLOBAL\n"
        "my-jupyter-job             Submit    team-a\n"
        "team-a-jupyter-defaults    Template  team-a\n"
    )
    assert rendered(TEAM_A, own[:1], []) == (
        "WORKLOAD                   USAGE     PROJECT/GLOBAL\nteam-a-jupyter-defaults    Template  team-a\n"
    )


def test_templates_of_all_projects_come_last() -> None:
    own = [workload("my-template", {"usage": "Template"}), workload("job-0-2022-04-16t07-49-18", {})]
    shared = [workload("all-jobs", {"usage": "Template"})]
    assert rendered(TEAM_A, own, shared) == (
        "WORKLOAD                     USAGE     PROJECT/GLOBAL\n"
        "job-0-2022-04-16t07-49-18    Submit    team-a\n"
        "my-template                  Template  team-a\n"
        "all-jobs                     Template  (global)\n"
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0s"),
        (0.9, "0s"),
        (59.9, "59s"),
        (60, "1m"),
        (3599, "59m"),
        (3600, "1h"),
        (86_399, "23h"),
        (86_400, "1d"),
        (365 * 86_400 - 1, "364d"),
        (730 * 86_400, "2y"),
    ],
)
def test_ages(seconds: float, text: str) -> None:
    assert age(seconds) == text


def test_what_others_wrote_does_not_command_the_terminal() -> None:
    assert printable("a\x1b[2Jb\té") == "a\\x1b[2Jb\\té"
    assert table([("A", "B"), ("x\n", "")]) == "A    B\nx\\n\n"
