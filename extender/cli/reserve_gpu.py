"""`runai-scheduler reserve-gpu`: holds one GPU for those that share it, and says which one it is."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import Annotated

import orjson
import typer

from extender import logs
from extender.cli.nvml import Nvml
from extender.controllers.reserve_gpu import LOOK_EVERY_S, Driver, keep, only_device, own_pod, report
from extender.errors import ConfigError, RunaiError
from extender.kube.client import KubeClient


def reserve_gpu(
    once: Annotated[bool, typer.Option("--once", help="Print the GPU's uuid and index as JSON, and exit.")] = False,
    kubeconfig: Annotated[str | None, typer.Option(envvar="KUBECONFIG", help="Else the in-cluster account.")] = None,
    look_every: Annotated[
        float, typer.Option(min=0.1, help="Seconds between looks whether the GPU is there.")
    ] = LOOK_EVERY_S,
) -> None:
    """Write the GPU that this container sees on its own pod (POD_NAMESPACE, POD_NAME), and hold it until SIGTERM.

    Exits with 1 when there is not exactly one GPU, when it is lost, or when the API server refuses.
    """
    logs.configure("info")
    try:
        if once:
            device = asyncio.run(only_device(Nvml()))
            typer.echo(orjson.dumps({"uuid": device.uuid, "index": device.index}))
        else:
            asyncio.run(_hold(Nvml(), kubeconfig, look_every))
    except (RunaiError, OSError) as error:
        typer.echo(f"runai-scheduler reserve-gpu: {error}", err=True)
        raise typer.Exit(2 if isinstance(error, ConfigError) else 1) from error


async def _hold(driver: Driver, kubeconfig: str | None, look_every_s: float) -> None:
    """Hold the GPU until SIGTERM or SIGINT; raises what ends it otherwise."""
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    pod = own_pod(os.environ)
    with contextlib.suppress(asyncio.CancelledError):
        async with await KubeClient.connect(kubeconfig) as client:
            device = await report(client, driver, pod)
            await keep(driver, device, look_every_s=look_every_s)
