"""Values in one text: the vectors of behaviour.md 12.7 and what they leave open."""

from __future__ import annotations

from typing import Any

import pytest

from extender.errors import MalformedError
from extender.model.gpu import parse_gpu_request
from extender.workloads import parse
from extender.workloads.parse import Gpu, SecretKey

CLAIM_FORM = (
    "the --pvc parameter can be given in either of the forms: "
    "<storage_class>[optional]:<size>:<container_mount_path>:<access_mode>[optional] or "
    "<existing_pvc_name>:<container_mount_path>:<access_mode>[optional]"
)
VOLUME_FORM = "the -v parameter must be given in the form of <host_path>:<container_path>:<access_mode>[optional]"
NO_SIZE = "persistent volume size must be specified"
NO_PATH = "container mount path must be specified"
NO_NAME = "persistent volume claim name must be specified"


def refused(function: Any, *arguments: Any) -> str:
    with pytest.raises(MalformedError) as raised:
        function(*arguments)
    return str(raised.value)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (None, Gpu()),
        ("1", Gpu(whole=1)),
        ("2.0", Gpu(whole=2)),
        (3, Gpu(whole=3)),
        ("0.5", Gpu(fraction="0.5")),
        (0.5, Gpu(fraction="0.5")),
        ("0.50", Gpu(fraction="0.5")),
        (".25", Gpu(fraction="0.25")),
        ("0", Gpu()),
        ("0.0", Gpu()),
        ("1e0", Gpu(whole=1)),
        ("10", Gpu(whole=10)),
    ],
)
def test_12_7_gpu(value: Any, found: Gpu) -> None:
    assert parse.gpu(value) == found
    if found.fraction:
        assert parse_gpu_request({"gpu-fraction": found.fraction}, {}).is_shared


@pytest.mark.parametrize("value", ["1.5", "-1", "abc", "", "1.0001", "NaN", "inf", True, "500m", [], "0x1", "-0.5"])
def test_12_7_gpu_refused(value: Any) -> None:
    assert refused(parse.gpu, value) == "gpu: must be an integer or a fraction between 0 and 1"


def test_a_fraction_has_as_many_decimals_as_the_scheduler_reads() -> None:
    assert parse.gpu("0.3333") == Gpu(fraction="0.3333")
    assert refused(parse.gpu, "0.33333") == "gpu: a fraction may have 4 decimals, 0.33333 has more"


@pytest.mark.parametrize(
    ("value", "mib"),
    [("1Gi", 1024), ("1G", 953), ("100M", 95), ("4000Mi", 4000), ("500M", 476), ("100Mi", 100), (100_000_000, 95)],
)
def test_12_7_gpu_memory(value: Any, mib: int) -> None:
    assert parse.gpu_memory_mib(value) == mib


@pytest.mark.parametrize("value", ["99M", "99999999", "0", "-1G"])
def test_12_7_gpu_memory_refused(value: str) -> None:
    assert refused(parse.gpu_memory_mib, value) == "gpu memory must be greater than 100Mb"


def test_the_least_gpu_memory_is_a_choice() -> None:
    assert parse.gpu_memory_mib("10M", 10_000_000) == 9
    assert refused(parse.gpu_memory_mib, "much") == "gpuMemory: must be a quantity"


def new(path: str, size: str, *, storage_class: str = "", read_only: bool = False) -> dict[str, Any]:
    made = {"existingPvc": False, "path": path, "size": size, "readOnly": read_only}
    return made | ({"storageClass": storage_class} if storage_class else {})


def existing(name: str, path: str, *, read_only: bool = False) -> dict[str, Any]:
    return {"existingPvc": True, "claimName": name, "path": path, "readOnly": read_only}


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("", CLAIM_FORM),
        ("::::", CLAIM_FORM),
        ("storage-class:1Gi::ro:notgood", CLAIM_FORM),
        (":1Gi:/path", new("/path", "1Gi")),
        (":1Gi:/path:", new("/path", "1Gi")),
        ("storageclass:1Gi:/path:ro", new("/path", "1Gi", storage_class="storageclass", read_only=True)),
        ("storageclass:1Gi:/path", new("/path", "1Gi", storage_class="storageclass")),
        (":1Gi:", NO_PATH),
        ("storage-class:1Gi::ro", NO_PATH),
        ("::/path/to", NO_SIZE),
        ("my-storage-class:::", NO_SIZE),
        ("::ro", NO_SIZE),
        (":/path/to", NO_NAME),
        (":", NO_NAME),
        ("my-pvc:", NO_PATH),
        (":/path/to:ro", "Badly formatted resource request for volume size requierment."),
        ("class:1.2.3:/path", "Badly formatted resource request for volume size requierment."),
        ("class:-1Gi:/path", "Badly formatted resource request for volume size requierment."),
        ("my-pvc:/tmp/john", existing("my-pvc", "/tmp/john")),
        ("my-pvc-2:/tmp/john:ro", existing("my-pvc-2", "/tmp/john", read_only=True)),
        ("my-pvc:/tmp/john:rw", existing("my-pvc", "/tmp/john")),
        (
            "my-pvc:/tmp/john:x",
            "invalid readonly parameter given: 'x'. this parameter may either be empty, ':ro' or ':rw'",
        ),
    ],
)
def test_12_7_claims(text: str, outcome: Any) -> None:
    if isinstance(outcome, dict):
        assert parse.claim(text) == outcome
    else:
        assert refused(parse.claim, text).startswith(outcome)


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("", VOLUME_FORM),
        (":", VOLUME_FORM),
        ("::", VOLUME_FORM),
        (":::", VOLUME_FORM),
        ("a", VOLUME_FORM),
        (":b", VOLUME_FORM),
        ("a:", VOLUME_FORM),
        ("a:b:ro:", VOLUME_FORM),
        ("a:b:ro:nfs:more", VOLUME_FORM),
        ("myPath:yourPath", {"sourcePath": "myPath", "targetPath": "yourPath", "readOnly": False}),
        ("myPath:yourPath:ro", {"sourcePath": "myPath", "targetPath": "yourPath", "readOnly": True}),
        ("/a:/b:rw:nfs.local", {"sourcePath": "/a", "targetPath": "/b", "readOnly": False, "nfsServer": "nfs.local"}),
        ("a:b:rx", "invalid readonly parameter given: 'rx'. this parameter may either be empty, ':ro' or ':rw'"),
    ],
)
def test_12_7_volumes(text: str, outcome: Any) -> None:
    if isinstance(outcome, dict):
        assert parse.volume(text) == outcome
    else:
        assert refused(parse.volume, text) == outcome


@pytest.mark.parametrize(
    ("text", "external", "container"), [("30022:22", 30022, 22), ("8888", 8888, 8888), ("65535:1", 65535, 1)]
)
def test_12_7_ports(text: str, external: int, container: int) -> None:
    assert parse.port(text) == {"container": container, "external": external}


@pytest.mark.parametrize("text", ["", ":", "22:", ":22", "0", "65536", "a", "1:2:3", "-1", "1.5", "٣"])
def test_ports_refused(text: str) -> None:
    assert refused(parse.port, text) == (
        f'a port must be <external>:<container>, or one number for both, each 1 to 65535, not "{text}"'
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("5s", 5),
        ("2m", 120),
        ("3h", 10800),
        ("1h30m", 5400),
        ("90s", 90),
        ("0s", 0),
        ("0", 0),
        ("1500ms", 2),
        ("1.4s", 1),
    ],
)
def test_12_7_durations(text: str, found: int) -> None:
    assert parse.seconds(text) == found


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("5", 'must be a duration such as "90s" or "1h30m", not "5"'),
        ("", 'must be a duration such as "90s" or "1h30m", not ""'),
        ("-5s", "must not be below 0, as -5s is"),
    ],
)
def test_durations_refused(text: str, why: str) -> None:
    assert refused(parse.seconds, text) == why


def test_12_7_tolerations() -> None:
    assert parse.toleration("operator=Equal,key=k,value=v,effect=NoSchedule,seconds=30") == {
        "operator": "Equal",
        "key": "k",
        "value": "v",
        "effect": "NoSchedule",
        "seconds": 30,
    }
    assert parse.toleration("operator=Exists") == {"operator": "Exists"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("k=v", 'a toleration has name, operator, key, value, effect, seconds, each as name=…, not "k=v"'),
        ("", 'a toleration has name, operator, key, value, effect, seconds, each as name=…, not ""'),
        ("key=k,seconds=1.5", 'seconds of a toleration must be an integer, not "1.5"'),
    ],
)
def test_tolerations_refused(text: str, why: str) -> None:
    assert refused(parse.toleration, text) == why


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("source=URL,rev=abc,branch=b", {"source": "URL", "revision": "abc", "branch": "b"}),
        ("source=https://h/r?a=b&c=d", {"source": "https://h/r?a=b&c=d"}),
        ("source=\"https://h/r\",target='/data'", {"source": "https://h/r", "target": "/data"}),
        ("source=U,nonsense,password=a=b", {"source": "U", "password": "a=b"}),
        ("source='a,b',branch=c", {"source": "a,b", "branch": "c"}),
        ("repo=U", {"source": "U"}),
        ("source=it's,branch=b", {"source": "it's", "branch": "b"}),
    ],
)
def test_12_7_git_sync(text: str, found: dict[str, str]) -> None:
    assert parse.git_sync(text) == found


@pytest.mark.parametrize("text", ["", "branch=b", "source=", "source"])
def test_git_sync_without_a_source(text: str) -> None:
    assert refused(parse.git_sync, text) == "git sync must contain Repository"


@pytest.mark.parametrize(
    ("command", "found"),
    [
        ("sleep infinity", ["sleep", "infinity"]),
        ("sh -c 'echo \"$HOME\" && sleep 5'", ["sh", "-c", 'echo "$HOME" && sleep 5']),
        (["a b", "c"], ["a b", "c"]),
        ("", []),
        ("a\\ b # c", ["a b", "#", "c"]),
    ],
)
def test_commands_are_split_as_a_shell_does(command: Any, found: list[str]) -> None:
    assert parse.words(command) == found


def test_a_quote_that_is_not_closed() -> None:
    assert refused(parse.words, "echo it's") == 'must be words with their quotes closed, not "echo it\'s"'


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("SECRET:my-secret,password", SecretKey("my-secret", "password")),
        ("SECRET:a.b,tls.crt", SecretKey("a.b", "tls.crt")),
        ("http://h:80/?a=b", None),
        ("my SECRET:a,b", None),
        ("secret:a,b", None),
        ("", None),
    ],
)
def test_m10_values_from_secrets_run_7435(text: str, found: SecretKey | None) -> None:
    assert parse.secret(text) == found


@pytest.mark.parametrize(
    "text", ["SECRET:", "SECRET:a", "SECRET:a,", "SECRET:,b", "SECRET:a,b,c", "SECRET:A,b", "SECRET:a, b"]
)
def test_secrets_refused(text: str) -> None:
    assert refused(parse.secret, text) == "must be SECRET:<name>,<key>, the name of a Secret and a key in it"


def test_variables_are_split_at_the_first_sign_run_7435() -> None:
    assert parse.variable("URL=http://h:80/?a=b") == ("URL", "http://h:80/?a=b")
    assert parse.variable("A=") == ("A", "")
    assert refused(parse.variable, "A") == 'must be NAME=VALUE, not "A"'
    assert refused(parse.variable, "=A") == 'must be NAME=VALUE, not "=A"'


def test_supplemental_groups() -> None:
    assert parse.supplemental_groups("100;200") == [100, 200]
    assert parse.supplemental_groups(" 0 ; 2147483647;") == [0, 2147483647]
    assert parse.supplemental_groups("") == []
    for wrong in ("a", "1,2", "-1", "2147483648", "1.0"):
        assert refused(parse.supplemental_groups, wrong) == f'must be ids of groups separated by ";", not "{wrong}"'
