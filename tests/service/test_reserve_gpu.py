"""`runai-scheduler reserve-gpu`: what it reports, when it ends, and what it says where there is nothing to hold.

The driver is a fake NVML below the real binding, except in the two tests that say otherwise.
"""

from __future__ import annotations

import asyncio
import ctypes.util
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pynvml
import pytest

from extender.cli.nvml import Nvml
from extender.controllers.reserve_gpu import Device, only_device, own_pod
from extender.emulator.cluster import EmbeddedCluster
from extender.emulator.reservation_pods import Reporting
from extender.errors import ConfigError, DeviceError
from extender.model.names import RESERVED_INDEX_ANNOTATION, RESERVED_UUID_ANNOTATION
from tests.emulator.playing import RESERVATIONS, create_reservations_namespace, reach, reported, reservation_pod
from tests.service.fake_nvml import functions

ROOT = Path(__file__).parents[2]
POD = {"POD_NAME": "r", "POD_NAMESPACE": "runai-reservation"}


class FakeNvml:
    """What the fake driver shows from its next look on."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def shows(self, *devices: dict[str, Any], **errors: int) -> None:
        self.file.write_text(json.dumps({"devices": devices, **errors}))


@pytest.fixture
def nvml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    fake = FakeNvml(tmp_path / "nvml.json")
    fake.shows({"uuid": "GPU-1", "minor": 3})
    for name, function in functions(fake.file).items():
        monkeypatch.setattr(pynvml, name, function)
    return fake


async def look() -> Device:
    return await only_device(Nvml())


async def test_the_device_and_its_number_on_the_node(nvml: FakeNvml) -> None:
    assert await look() == Device("GPU-1", 3)
    nvml.shows({"uuid": "GPU-2", "minor": None, "is_cut": False})
    assert await look() == Device("GPU-2", 0)


@pytest.mark.parametrize(
    ("devices", "errors", "said"),
    [
        ([], {}, "sees no GPU, and should see exactly one: the pod must have limits nvidia.com/gpu: 1"),
        ([{"uuid": "GPU-1", "minor": 0}, {"uuid": "GPU-2", "minor": 1}], {}, r"sees 2 GPUs \(GPU-1, GPU-2\)"),
        ([{"uuid": "GPU-1", "minor": 0, "is_cut": True}], {}, "GPU-1 is cut into MIG slices"),
        ([], {"start_error": pynvml.NVML_ERROR_LIBRARY_NOT_FOUND}, "libnvidia-ml.so.1 is not in this container"),
        ([], {"start_error": pynvml.NVML_ERROR_DRIVER_NOT_LOADED}, "driver is not loaded"),
        ([], {"start_error": pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH}, "NVML does not start: .*mismatch"),
        ([], {"error": pynvml.NVML_ERROR_GPU_IS_LOST}, "driver cannot show this container's GPU: GPU is lost"),
    ],
)
async def test_what_is_wrong_is_said(
    nvml: FakeNvml, devices: list[dict[str, Any]], errors: dict[str, int], said: str
) -> None:
    nvml.shows(*devices, **errors)
    with pytest.raises(DeviceError, match=said):
        await look()


def test_a_pod_that_does_not_know_itself_is_told_how() -> None:
    assert own_pod(POD) == "/api/v1/namespaces/runai-reservation/pods/r"
    for name, field in (("POD_NAME", "metadata.name"), ("POD_NAMESPACE", "metadata.namespace")):
        with pytest.raises(ConfigError, match=f"{name} is not set: .* downward API, fieldRef {field}"):
            own_pod({**POD, name: ""})


# ---------------------------------------------------------------- as a process on the embedded cluster


class Program:
    """The command over the fake driver, in a process of its own."""

    def __init__(self, cluster: EmbeddedCluster, nvml: FakeNvml) -> None:
        self._cluster = cluster
        self._nvml = nvml
        self.process: asyncio.subprocess.Process | None = None

    async def start(self, **environment: str) -> asyncio.subprocess.Process:
        arguments = ("reserve-gpu", "--kubeconfig", str(self._cluster.kubeconfig), "--look-every", "0.1")
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.service.fake_nvml", str(self._nvml.file), *arguments),
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **POD, **environment},
            cwd=ROOT,
        )
        return self.process

    async def end(self) -> tuple[int | None, str]:
        """(exit code, what it said) of the process, once it has ended."""
        assert self.process is not None
        async with asyncio.timeout(20):
            _, said = await self.process.communicate()
        return self.process.returncode, said.decode()


@pytest.fixture
async def cluster() -> AsyncIterator[EmbeddedCluster]:
    """Nodes on which a reservation pod runs, and says nothing by itself."""
    async with EmbeddedCluster(nodes=1) as cluster:
        await create_reservations_namespace(cluster.client)
        cluster.kubelets.set_reporting("node-0", Reporting.SILENT)
        await cluster.client.create(RESERVATIONS, reservation_pod())
        yield cluster


@pytest.fixture
async def program(cluster: EmbeddedCluster, nvml: FakeNvml) -> AsyncIterator[Program]:
    program = Program(cluster, nvml)
    yield program
    if program.process is not None and program.process.returncode is None:
        program.process.kill()
        await program.process.communicate()


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
async def test_it_reports_and_stays_until_it_is_told_to_end(
    program: Program, cluster: EmbeddedCluster, told: signal.Signals
) -> None:
    process = await program.start()
    annotations = (await reach(cluster.client, f"{RESERVATIONS}/r", reported))["metadata"]["annotations"]
    assert annotations[RESERVED_UUID_ANNOTATION] == "GPU-1"
    assert annotations[RESERVED_INDEX_ANNOTATION] == "3"
    await asyncio.sleep(0.5)
    assert process.returncode is None
    process.send_signal(told)
    code, said = await program.end()
    assert code == 0
    assert '"event":"device_reported","uuid":"GPU-1","index":3' in said


async def test_it_waits_for_an_api_server_that_is_away(program: Program, cluster: EmbeddedCluster) -> None:
    cluster.server.faults.unavailable()
    process = await program.start()
    assert process.stderr is not None
    async with asyncio.timeout(20):
        assert b"report_failed" in await process.stderr.readline()
    cluster.server.faults.unavailable(False)
    await reach(cluster.client, f"{RESERVATIONS}/r", reported)
    process.terminate()
    assert (await program.end())[0] == 0


async def test_it_ends_when_its_device_is_lost(program: Program, cluster: EmbeddedCluster, nvml: FakeNvml) -> None:
    await program.start()
    await reach(cluster.client, f"{RESERVATIONS}/r", reported)
    nvml.shows()
    code, said = await program.end()
    assert code == 1
    assert "runai-scheduler reserve-gpu: lost GPU-1: this container sees no GPU" in said


async def test_it_ends_when_another_device_is_there_in_its_place(
    program: Program, cluster: EmbeddedCluster, nvml: FakeNvml
) -> None:
    await program.start()
    await reach(cluster.client, f"{RESERVATIONS}/r", reported)
    nvml.shows({"uuid": "GPU-2", "minor": 3})
    code, said = await program.end()
    assert code == 1
    assert "lost GPU-1: this container sees GPU-2 in its place" in said


@pytest.mark.parametrize(
    ("environment", "code", "said"),
    [
        ({"POD_NAME": "nobody"}, 1, "404"),
        ({"POD_NAME": ""}, 2, "POD_NAME is not set"),
    ],
)
async def test_it_does_not_stay_where_it_can_report_nothing(
    program: Program, environment: dict[str, str], code: int, said: str
) -> None:
    await program.start(**environment)
    ended, text = await program.end()
    assert ended == code
    assert said in text
    assert "Traceback" not in text


# ---------------------------------------------------------------- NVML itself, no fake


def once() -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from extender.cli.scheduler import main; main()", "reserve-gpu", "--once"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_with_the_real_nvml_it_shows_the_true_uuid() -> None:
    if shutil.which("nvidia-smi") is None:
        pytest.skip("NOT TESTED: the real NVML. No nvidia-smi, so no GPU here; all was shown with a fake NVML only")
    query = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
    uuids = subprocess.run(query, capture_output=True, text=True, timeout=60, check=True).stdout.split()
    shown = once()
    if len(uuids) == 1:
        assert json.loads(shown.stdout)["uuid"] == uuids[0], shown.stderr
        assert json.loads(shown.stdout)["index"] >= 0
    else:
        assert shown.returncode == 1
        assert f"sees {len(uuids)} GPUs" in shown.stderr


@pytest.mark.skipif(ctypes.util.find_library("nvidia-ml") is not None, reason="this machine has NVML")
def test_without_nvml_it_says_so_and_fails() -> None:
    shown = once()
    assert shown.returncode == 1
    assert "libnvidia-ml.so.1 is not in this container" in shown.stderr
    assert "Traceback" not in shown.stderr
    assert shown.stdout == ""


def loaded(*arguments: str) -> set[str]:
    """The modules that `runai-scheduler` has loaded when it ends with these arguments."""
    code = f"""
import sys
from extender.cli.scheduler import main
sys.argv = ["runai-scheduler", *{arguments!r}]
try:
    main()
except SystemExit:
    print(*sys.modules, sep="\\n", file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return set(done.stderr.split("\n"))


def test_the_binding_is_loaded_by_no_other_command_and_this_one_loads_little_else() -> None:
    assert "extender.cli.reserve_gpu" in loaded("reserve-gpu", "--help")
    assert not {"extender.app", "numpy"} & loaded("reserve-gpu", "--help")
    assert "extender.app" in loaded("version")
    assert "pynvml" not in loaded("version")
