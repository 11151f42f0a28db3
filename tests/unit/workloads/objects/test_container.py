"""The rows "Container" and "Security" of the table of parameters (behaviour.md 2.3), and 2.9."""

from __future__ import annotations

from typing import Any

import pytest

from extender.model.workload import WorkloadKind
from extender.workloads.objects import Backend, Images
from tests.submissions import environment, rendered

Json = dict[str, Any]
KUBERNETES = {"backend": Backend.KUBERNETES}


@pytest.mark.parametrize(
    ("values", "field", "expected"),
    [
        ({"image": "ubuntu:24.04"}, "image", "ubuntu:24.04"),
        ({}, "imagePullPolicy", "Always"),
        ({"imagePullPolicy": "ifNotPresent"}, "imagePullPolicy", "IfNotPresent"),
        ({"command": "sleep infinity"}, "command", ["sleep", "infinity"]),
        ({"command": "sh -c 'echo \"a b\" && exit 1'"}, "command", ["sh", "-c", 'echo "a b" && exit 1']),
        ({"command": ["echo", "a b"]}, "command", ["echo", "a b"]),
        ({"arguments": "--epochs 3"}, "args", ["--epochs", "3"]),
        ({"workingDir": "/src"}, "workingDir", "/src"),
        ({"stdin": True}, "stdin", True),
        ({"tty": True, "stdin": True}, "tty", True),
        ({"allowPrivilegeEscalation": False}, "securityContext", {"allowPrivilegeEscalation": False}),
        (
            {"capabilities": {"b": "SYS_PTRACE", "a": "NET_ADMIN"}},
            "securityContext",
            {"capabilities": {"add": ["NET_ADMIN", "SYS_PTRACE"]}},
        ),
    ],
)
def test_what_the_container_is(values: Json, field: str, expected: Any) -> None:
    assert rendered(**values).container[field] == expected


@pytest.mark.parametrize(
    ("values", "field", "expected"),
    [
        (
            {"imagePullSecrets": {"b": "second", "a": "first"}},
            "imagePullSecrets",
            [{"name": "first"}, {"name": "second"}],
        ),
        (
            {"runAsUser": True, "runAsUid": 500, "runAsGid": 30},
            "securityContext",
            {"runAsUser": 500, "runAsGroup": 30},
        ),
        ({"runAsUser": True, "runAsUid": 0}, "securityContext", {"runAsUser": 0}),
        ({"runAsUser": True}, "securityContext", {"runAsNonRoot": True}),
        ({"supplementalGroups": "100;2000"}, "securityContext", {"supplementalGroups": [100, 2000]}),
        ({"hostIpc": True}, "hostIPC", True),
    ],
)
def test_what_the_pod_is(values: Json, field: str, expected: Any) -> None:
    assert rendered(**values).pod[field] == expected


def test_uid_and_gid_count_with_run_as_user_only() -> None:
    assert rendered(runAsUid=500, runAsGid=30).pod == rendered().pod


def test_nothing_is_said_that_was_not_given() -> None:
    assert set(rendered().container) == {"name", "image", "imagePullPolicy", "env"}
    assert set(rendered().pod) == {"restartPolicy", "schedulerName", "containers"}


def test_the_submitter_as_the_container_knows_them() -> None:
    found = rendered(runAsUser=True, runAsUid=500, runAsGid=30).environment
    assert (found["LDAP_UID"], found["LDAP_GID"]) == ("500", "30")


@pytest.mark.parametrize(
    ("values", "has_home"),
    [
        ({}, False),
        ({"createHomeDir": True}, True),
        ({"runAsUser": True}, True),
        ({"runAsUser": True, "createHomeDir": False}, False),
    ],
)
def test_create_home_dir(values: Json, has_home: bool) -> None:
    found = rendered(**values)
    assert found.environment.get("HOME") == ("/home/runai-home" if has_home else None)
    home = {"name": "user-data", "mountPath": "/home/runai-home"}
    assert (home in found.container.get("volumeMounts", [])) == has_home
    assert ({"name": "user-data", "emptyDir": {}} in found.pod.get("volumes", [])) == has_home


def test_environment_m10() -> None:
    """M10: a secret by reference; RUN-7435: nothing of a value with `=` and `:` in it is lost."""
    found = rendered(
        environment={"MYPASSWORD": "SECRET:my-secret,password", "URL": "http://h:80/?a=b", "N": 3, "S": "a SECRET:b,c"}
    ).environment
    assert found["MYPASSWORD"] == {"secretKeyRef": {"name": "my-secret", "key": "password"}}
    assert (found["URL"], found["N"], found["S"]) == ("http://h:80/?a=b", "3", "a SECRET:b,c")


def test_what_every_container_finds_in_its_environment() -> None:
    found = rendered(given={"job": "train-0"}, gpu="2.0").environment
    assert found == {
        "JOB_NAME": "train-0",
        "RUNAI_JOB_NAME": "train-0",
        "RUNAI_PROJECT": "team-a",
        "RUNAI_NUM_OF_GPUS": "2",
        "JOB_UUID": {"fieldRef": {"fieldPath": "metadata.labels['run.ai/job-uid']"}},
        "POD_INDEX": {"fieldRef": {"fieldPath": "metadata.labels['run.ai/pod-index']"}},
        "POD_UUID": {"fieldRef": {"fieldPath": "metadata.uid"}},
        "NODE_NAME": {"fieldRef": {"fieldPath": "spec.nodeName"}},
    }


def test_where_pods_do_not_know_their_job_the_workload_tells_runs_apart() -> None:
    assert rendered(WorkloadKind.INTERACTIVE, given=KUBERNETES).environment["JOB_UUID"] == "0a1b"


def test_of_a_job_index_and_uid_are_what_kubernetes_labels_its_pods_with() -> None:
    found = rendered(given=KUBERNETES).environment
    assert found["POD_INDEX"]["fieldRef"]["fieldPath"] == "metadata.labels['batch.kubernetes.io/job-completion-index']"
    assert found["JOB_UUID"]["fieldRef"]["fieldPath"] == "metadata.labels['batch.kubernetes.io/controller-uid']"


@pytest.mark.parametrize(
    ("values", "number"),
    [
        ({}, "0"),
        ({"gpu": "0.50"}, "0.5"),
        ({"gpu": 4}, "4"),
        ({"gpuMemory": "1G"}, "1"),
        ({"migProfile": "1g.5gb"}, "1"),
    ],
)
def test_how_many_gpus_it_is_told(values: Json, number: str) -> None:
    assert rendered(**values).environment["RUNAI_NUM_OF_GPUS"] == number


def test_what_the_submitter_sets_wins() -> None:
    found = rendered(environment={"JOB_NAME": "mine", "HOME": "/root"}, createHomeDir=True).environment
    assert (found["JOB_NAME"], found["HOME"]) == ("mine", "/root")


def test_git_sync() -> None:
    found = rendered(gitSync={"a": {"source": "https://git.example.com/a.git?x=y", "branch": "dev", "target": "/src"}})
    (init,) = found.pod["initContainers"]
    assert init["name"] == "git-sync"
    assert init["image"] == Images().git_sync
    assert environment(init) == {
        "GIT_SYNC_REPO": "https://git.example.com/a.git?x=y",
        "GIT_SYNC_BRANCH": "dev",
        "GIT_SYNC_ROOT": "/code",
        "GIT_SYNC_ONE_TIME": "true",
    }
    assert init["volumeMounts"] == [{"name": "code-sync", "mountPath": "/code"}]
    assert found.mounts == [({"emptyDir": {}}, {"mountPath": "/src"})]


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ({}, {"GIT_SYNC_BRANCH": "master"}),
        ({"revision": "abc", "branch": "b"}, {"GIT_SYNC_REV": "abc"}),
        ({"branch": "b"}, {"GIT_SYNC_BRANCH": "b"}),
    ],
)
def test_a_revision_beats_a_branch(item: Json, expected: Json) -> None:
    found = rendered(gitSync={"a": {"source": "u"} | item})
    env = environment(found.pod["initContainers"][0])
    assert {key: env[key] for key in env if key in ("GIT_SYNC_REV", "GIT_SYNC_BRANCH")} == expected
    assert found.mounts[0][1] == {"mountPath": "/code"}


def test_several_repositories_and_an_image_of_ones_own() -> None:
    found = rendered(
        gitSync={"b": {"source": "2", "target": "/b", "image": "mine"}, "a": {"source": "1", "target": "/a"}}
    )
    assert [one["name"] for one in found.pod["initContainers"]] == ["git-sync", "git-sync-1"]
    assert found.pod["initContainers"][1]["image"] == "mine"
    assert [mount["mountPath"] for _, mount in found.mounts] == ["/a", "/b"]


def test_a_plain_password_is_nowhere_in_clear_run_6027() -> None:
    found = rendered(
        WorkloadKind.INTERACTIVE,
        gitSync={"a": {"source": "u", "username": "ann", "password": "hunter2"}},
        s3={"a": {"bucket": "b", "accessKeyId": "AKIA", "secret": "hunter3", "target": "/d"}},
        notebookToken="hunter4",
    )
    assert not [word for word in ("hunter", "AKIA", "'ann'") if word in str(found.objects)]
    secret = found.one("Secret")
    assert secret["metadata"]["name"] == "j-secrets"
    assert secret["data"]["gitSync-0-password"] == "aHVudGVyMg=="
    env = environment(found.pod["initContainers"][0])
    assert env["GIT_SYNC_PASSWORD"] == {"secretKeyRef": {"name": "j-secrets", "key": "gitSync-0-password"}}
    assert found.environment["JUPYTER_TOKEN"] == {"secretKeyRef": {"name": "j-secrets", "key": "notebookToken"}}


def test_a_password_by_reference_needs_no_secret_of_ours() -> None:
    found = rendered(gitSync={"a": {"source": "u", "password": "SECRET:git,pass"}})
    assert not found.all("Secret")
    env = environment(found.pod["initContainers"][0])
    assert env["GIT_SYNC_PASSWORD"] == {"secretKeyRef": {"name": "git", "key": "pass"}}
