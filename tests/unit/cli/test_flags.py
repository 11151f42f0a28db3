"""Flags of `runai submit` → spec: one for each parameter, the aliases of behaviour.md 4.2, items in all their forms."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from extender.cli.runai import specs
from extender.cli.runai.flags import command, flags
from extender.errors import ConfigError, MalformedError
from extender.model.workload import Type, WorkloadKind
from extender.wire.workloads import parameters

Json = dict[str, Any]

LONE = (WorkloadKind.TRAINING, WorkloadKind.INTERACTIVE, WorkloadKind.INFERENCE)
DISTRIBUTED = (WorkloadKind.DISTRIBUTED,)


def typed(line: str, kind: WorkloadKind = WorkloadKind.TRAINING, **shortcuts: Any) -> Json:
    """The spec of a command line; words are separated by blanks."""
    of = flags(DISTRIBUTED if kind is WorkloadKind.DISTRIBUTED else LONE)
    found: list[Mapping[str, Any]] = []
    app = typer.Typer(add_completion=False)
    app.command()(command(found.append, of, {}, "Submit."))
    result = CliRunner().invoke(app, line.split(" ") if line else [])
    assert result.exit_code == 0, result.output
    return specs.write(kind, of, found[0], **shortcuts).spec


def test_every_parameter_has_a_flag_of_its_name_and_no_two_share_one() -> None:
    for kinds in (LONE, DISTRIBUTED):
        of = flags(kinds)
        names = [name for flag in of.values() for part in flag.names for name in part.split("/")]
        assert sorted(names) == sorted(set(names))
        wanted = {name for kind in kinds for name, one in parameters(kind).items() if one.type is not Type.OBJECT}
        assert wanted - {"command"} <= set(of)
    assert flags(LONE)["ttlAfterFinish"].names[0] == "--ttl-after-finish"
    assert flags(LONE)["gpu"].kinds == LONE
    assert flags(LONE)["jupyter"].kinds == (WorkloadKind.INTERACTIVE,)


def test_the_help_is_what_the_models_say() -> None:
    app = typer.Typer(add_completion=False)
    app.command()(command(lambda _: None, flags(LONE), {}, "Submit."))
    text = " ".join(CliRunner().invoke(app, ["--help"], env={"COLUMNS": "300"}).stdout.split())
    assert "Specifies nodes (machines) or a group of nodes on which the workload will run." in text
    assert "[EXTERNAL:]CONTAINER" in text
    assert "Interactive only" in text


@pytest.mark.parametrize(
    ("line", "spec"),
    [
        ("", {}),
        ("-g 0.5", {"gpu": {"value": "0.5"}}),
        ("--gpu 1 -i ubuntu", {"gpu": {"value": "1"}, "image": {"value": "ubuntu"}}),
        ("--job-name-prefix hpo", {"namePrefix": {"value": "hpo"}}),
        ("--name-prefix hpo", {"namePrefix": {"value": "hpo"}}),
        ("--mig 1g.5gb", {"migProfile": {"value": "1g.5gb"}}),
        ("--stdin -t", {"stdin": {"value": True}, "tty": {"value": True}}),
        ("--no-stdin", {"stdin": {"value": False}}),
        ("--prevent-privilege-escalation", {"allowPrivilegeEscalation": {"value": False}}),
        ("--completions 12 --parallelism 3", {"completions": {"value": 12}, "parallelism": {"value": 3}}),
        ("--auto-deletion-time-after-completion 2m", {"ttlAfterFinish": {"value": "2m"}}),
        ("-s nodeport -u me", {"serviceType": {"value": "nodeport"}, "username": {"value": "me"}}),
        ("--args sleep", {"arguments": {"value": "sleep"}}),
        ("--node-pools a --node-pools b", {"nodePools": {"value": ["a", "b"]}}),
        # RUN-7435: a value may have "=" itself.
        (
            "-e URL=http://h:80/?a=b --environment A=1,2 -e EMPTY=",
            {
                "environment": {
                    "items": {"URL": {"value": "http://h:80/?a=b"}, "A": {"value": "1,2"}, "EMPTY": {"value": ""}}
                }
            },
        ),
        ("-e PW=SECRET:my-secret,password", {"environment": {"items": {"PW": {"value": "SECRET:my-secret,password"}}}}),
        (
            "-l team=a -a note=x",
            {"labels": {"items": {"team": {"value": "a"}}}, "annotations": {"items": {"note": {"value": "x"}}}},
        ),
        (
            "--add-capability SYS_PTRACE --add-capability NET_ADMIN,KILL",
            {
                "capabilities": {
                    "items": {
                        "sysptrace": {"value": "SYS_PTRACE"},
                        "netadmin": {"value": "NET_ADMIN"},
                        "kill": {"value": "KILL"},
                    }
                }
            },
        ),
    ],
)
def test_a_flag_becomes_a_value(line: str, spec: Json) -> None:
    assert typed(line) == spec


@pytest.mark.parametrize(
    ("line", "parameter", "items"),
    [
        ("--port 30022:22", "ports", {"port22": {"container": 22, "external": 30022}}),
        ("--port 8888", "ports", {"port8888": {"container": 8888, "external": 8888}}),
        (
            "--port label=web,container=80,service-type=NodePort",
            "ports",
            {"web": {"container": 80, "serviceType": "NodePort"}},
        ),
        (
            "-v /src:/mnt/data:ro",
            "volumes",
            {"mntdata": {"sourcePath": "/src", "targetPath": "/mnt/data", "readOnly": True}},
        ),
        (
            "--volume path=/src,mountPath=/data,nfsServer=nfs",
            "volumes",
            {"data": {"sourcePath": "/src", "targetPath": "/data", "nfsServer": "nfs"}},
        ),
        (
            "-v /s:/a/b -v /t:/ab",
            "volumes",
            {
                "ab": {"sourcePath": "/s", "targetPath": "/a/b", "readOnly": False},
                "abx2": {"sourcePath": "/t", "targetPath": "/ab", "readOnly": False},
            },
        ),
        (
            "--pvc my-pvc:/tmp/john",
            "pvcs",
            {"tmpjohn": {"claimName": "my-pvc", "existingPvc": True, "path": "/tmp/john", "readOnly": False}},
        ),
        (
            "--pvc :1Gi:/path:ro",
            "pvcs",
            {"path": {"existingPvc": False, "size": "1Gi", "path": "/path", "readOnly": True}},
        ),
        (
            "--pvc claimname=c,storage-class=fast,size=1Gi,path=/p,accessmode-rwm,ro,ephemeral",
            "pvcs",
            {
                "p": {
                    "claimName": "c",
                    "storageClass": "fast",
                    "size": "1Gi",
                    "path": "/p",
                    "accessModes": ["ReadWriteMany"],
                    "readOnly": True,
                    "ephemeral": True,
                }
            },
        ),
        (
            "--git-sync source=https://git/?q=1,rev=abc,branch=b",
            "gitSync",
            {"httpsgitq1": {"source": "https://git/?q=1", "revision": "abc", "branch": "b"}},
        ),
        (
            "--toleration operator=Equal,key=k,value=v,effect=NoSchedule,seconds=30",
            "tolerations",
            {"k": {"operator": "Equal", "key": "k", "value": "v", "effect": "NoSchedule", "seconds": 30}},
        ),
        ("--extended-resource rdma/hca=1", "extendedResources", {"rdma/hca": {"quantity": "1"}}),
        (
            '--s3 bucket=b,key="SECRET:s,key",secret="SECRET:s,secret",target=/s3',
            "s3",
            {"s3": {"bucket": "b", "accessKeyId": "SECRET:s,key", "secret": "SECRET:s,secret", "target": "/s3"}},
        ),
        (
            "--configmap-volume name=cm,path=/etc/cm",
            "configMapVolumes",
            {"etccm": {"name": "cm", "mountPath": "/etc/cm"}},
        ),
    ],
)
def test_items(line: str, parameter: str, items: Json) -> None:
    assert typed(line) == {parameter: {"items": {label: {"value": value} for label, value in items.items()}}}


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("-e NOTHING", "environment: must be NAME=VALUE"),
        ("--port a:b", "a port must be <external>:<container>"),
        ("-v :::", "the -v parameter must be given in the form of"),
        ("--pvc :", "persistent volume claim name must be specified"),
        ("--git-sync branch=b", "git sync must contain Repository"),
        ("--pvc claimname=c,patth=/p", "pvcs: must be MEMBER=VALUE, not 'patth=/p'; "),
        ("--pvc claimname=c,readonly=perhaps", "pvcs: readOnly must be true or false, not 'perhaps'"),
        ("--port container=x", "ports: container must be an integer, not 'x'"),
    ],
)
def test_what_cannot_be_read_is_named(line: str, sentence: str) -> None:
    with pytest.raises(MalformedError) as caught:
        typed(line)
    assert str(caught.value).startswith(sentence)


def test_members_of_parts_and_of_the_master() -> None:
    line = (
        "--workers 2 --slots-per-worker 4 --clean-pod-policy All --backoff-limit 3 --master-args x "
        "--master-environment A=- --master-gpu 0 --master-no-pvcs --master-extended-resource r/x=2"
    )
    assert typed(line, WorkloadKind.DISTRIBUTED) == {
        "workers": {"value": 2},
        "mpiJob": {"value": {"slotsPerWorker": 4}},
        "runPolicy": {"value": {"cleanPodPolicy": "All", "backoffLimit": 3}},
        "masterArguments": {"value": "x"},
        "masterEnvironment": {"items": {"A": {"value": "-"}}},
        "masterGpu": {"value": "0"},
        "masterNoPvcs": {"value": True},
        "masterExtendedResources": {"items": {"r/x": {"value": {"quantity": "2"}}}},
    }


def test_shortcuts_stand_for_several_values() -> None:
    assert typed("", positional="train-1") == {"name": {"value": "train-1"}}
    with pytest.raises(ConfigError, match=r"unexpected arguments \[b\]"):
        typed("--name a", positional="b")
    assert typed("", pvc_exists=["claimname=c,path=/c"], pvc_new=["size=1Gi,path=/n,accessmode-rwo"]) == {
        "pvcs": {
            "items": {
                "n": {"value": {"size": "1Gi", "path": "/n", "accessModes": ["ReadWriteOnce"]}},
                "c": {"value": {"claimName": "c", "path": "/c", "existingPvc": True}},
            }
        }
    }
    volumes = typed("-v /a:/b -v /c:/d:rw:other", nfs_server="nfs")["volumes"]["items"]
    assert [one["value"]["nfsServer"] for one in volumes.values()] == ["nfs", "other"]
    assert typed("", required_topology="rack") == {
        "podAffinity": {"value": True},
        "podAffinitySchedulingRule": {"value": "hard"},
        "podAffinityTopology": {"value": "rack"},
    }
    assert typed("", preferred_topology="rack")["podAffinitySchedulingRule"] == {"value": "soft"}
    with pytest.raises(ConfigError, match="cannot be used together"):
        typed("", required_topology="rack", preferred_topology="zone")


def test_who_runs_as_themselves_is_told_who_they_are() -> None:
    assert typed("--run-as-user") == {
        "runAsUser": {"value": True},
        "runAsUid": {"value": os.getuid()},
        "runAsGid": {"value": os.getgid()},
    }
    assert typed("--run-as-user --run-as-uid 7")["runAsUid"] == {"value": 7}


def test_flags_of_other_kinds() -> None:
    of = flags(LONE)

    def written(kind: WorkloadKind, **given: Any) -> specs.Written:
        return specs.write(kind, of, given)

    assert written(WorkloadKind.INTERACTIVE, backoffLimit=3) == specs.Written(
        {}, ("Warning: --backoff-limit has no effect on InteractiveWorkload",)
    )
    assert written(WorkloadKind.TRAINING, preemptible=True).spec == {}
    assert written(WorkloadKind.INTERACTIVE, preemptible=True).warnings == (
        "Warning: Using the preemptible flag may lead to your resources being preempted without notice",
    )
    with pytest.raises(ConfigError, match="interactive jobs can't run with Parallelism"):
        written(WorkloadKind.INTERACTIVE, parallelism=2)
    with pytest.raises(ConfigError, match="--min-scale: is for InferenceWorkload, and this is TrainingWorkload"):
        written(WorkloadKind.TRAINING, minScale=1)


@pytest.mark.parametrize(
    ("words", "as_command", "spec"),
    [
        ([], False, {}),
        (["sleep", "infinity"], True, {"command": {"value": "sleep infinity"}}),
        (["-x", "a b"], False, {"arguments": {"value": "-x 'a b'"}}),
    ],
)
def test_words_after_the_dashes(words: list[str], as_command: bool, spec: Json) -> None:
    found: Json = {}
    specs.run(found, words, as_command=as_command)
    assert found == spec


def test_words_that_are_missing_or_too_many() -> None:
    with pytest.raises(ConfigError, match="--command: what to run must follow after --"):
        specs.run({}, [], as_command=True)
    with pytest.raises(ConfigError, match="--arguments: cannot be given together with words after --"):
        specs.run({"arguments": {"value": "a"}}, ["b"], as_command=False)
