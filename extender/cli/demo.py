"""`runai-scheduler demo`: the main job on the embedded cluster, with nothing installed but Python."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Coroutine
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.live import Live

from extender import logs
from extender.cli.demo_report import Watcher, missing_pods, not_running
from extender.cli.demo_view import draw
from extender.errors import ConfigError, RunaiError

if TYPE_CHECKING:
    from extender.emulator.cluster import EmbeddedCluster

Json = dict[str, Any]

_QUIET_S = 1.0
_LOOK_EVERY_S = 0.1
_REDRAW_EVERY_S = 0.25
_READY_TIMEOUT_S = 20.0
_APPLY_TIMEOUT_S = 3.0
_INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Options:
    """The command line; `once_json` implies `once`."""

    nodes: int
    gpus_per_node: int
    once: bool
    once_json: bool
    files: tuple[Path, ...]
    timeout_s: float
    port: int


def demo(
    nodes: Annotated[int, typer.Option(min=0, help="Fake nodes.")] = 3,
    gpus_per_node: Annotated[int, typer.Option(min=0, help="GPUs of each node.")] = 4,
    once: Annotated[bool, typer.Option("--once", help="Settle, print, exit: 0 when everything runs, else 1.")] = False,
    json: Annotated[bool, typer.Option("--json", help="With --once: print one JSON object.")] = False,
    file: Annotated[
        list[Path] | None, typer.Option("--file", "-f", help="Manifests to apply instead of the built-in ones.")
    ] = None,
    timeout_s: Annotated[float, typer.Option(min=0.1, help="Longest time that --once waits to settle.")] = 60.0,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the API server on 127.0.0.1; 0: any.")] = 0,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error, to stderr.")] = "error",
) -> None:
    """Run the scheduler on an embedded cluster of fake GPU nodes and show what happens."""
    if json and not once:
        raise _refuse("--json needs --once: a live view is not one JSON object")
    if log_level not in ("debug", "info", "warning", "error"):
        raise _refuse(f"--log-level {log_level}: must be debug, info, warning or error")
    logs.configure(log_level)
    options = Options(nodes, gpus_per_node, once, json, tuple(file or ()), timeout_s, port)
    try:
        code = asyncio.run(_until_signal(_demo(options), _INTERRUPTED if once else 0))
    except ConfigError as error:
        raise _refuse(str(error)) from error
    except (RunaiError, OSError) as error:
        typer.echo(f"runai-scheduler demo: {error}", err=True)
        raise typer.Exit(1) from error
    raise typer.Exit(code)


def _refuse(sentence: str) -> typer.Exit:
    typer.echo(f"runai-scheduler demo: {sentence}", err=True)
    return typer.Exit(2)


async def _until_signal(work: Coroutine[Any, Any, int], interrupted: int) -> int:
    """Run `work`; on SIGINT or SIGTERM cancel it, let it clean up, and return `interrupted`."""
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()

    def stop() -> None:
        # Once: a second Ctrl-C would cancel the clean-up and leave files behind.
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    try:
        return await task
    except asyncio.CancelledError:
        return interrupted


async def _demo(options: Options) -> int:
    from extender.app import Service
    from extender.emulator.applying import parse_documents, read_documents
    from extender.emulator.cluster import EmbeddedCluster
    from extender.settings import Settings

    if options.files:
        documents = read_documents(options.files)
    else:
        text = files("extender.cli").joinpath("demo.yaml").read_text(encoding="utf-8")
        documents = parse_documents(text, "demo.yaml")
    async with EmbeddedCluster(nodes=options.nodes, gpus_per_node=options.gpus_per_node, port=options.port) as cluster:
        service = Service(
            Settings(
                kubeconfig=str(cluster.kubeconfig),
                extender_address="127.0.0.1:0",
                admission_address="127.0.0.1:0",
                metrics_address="127.0.0.1:0",
                lease="",
            )
        )
        await cluster.install_webhooks(lambda: service.admission_url)
        await service.start()
        try:
            await service.wait_ready(_READY_TIMEOUT_S)
            cluster.start_scheduler(service.extender_url)
            watcher = Watcher(cluster.client, service.snapshot)
            watching = asyncio.create_task(watcher.run())
            try:
                settling = Settling(cluster, watcher)
                await cluster.apply(documents, timeout_s=_APPLY_TIMEOUT_S)
                if options.once:
                    return await _once(options, cluster, watcher, settling)
                await _live(cluster, watcher, settling)
                return 0
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
        finally:
            await service.stop()


class Settling:
    """Tells when the cluster has come to rest: nothing changed for a second, no actor has anything left to do, and
    every pod runs or has been told why it waits.
    """

    def __init__(self, cluster: EmbeddedCluster, watcher: Watcher) -> None:
        self._cluster = cluster
        self._watcher = watcher
        self._now = asyncio.get_running_loop().time
        self._started_at = self._now()

    def is_settled(self, within_s: float) -> bool:
        quiet_s = self._now() - self._watcher.changed_at
        return quiet_s >= _QUIET_S and self._cluster.is_settled(within_s) and not self._watcher.has_undecided()

    def took_s(self) -> float:
        """From the first manifest to the latest change."""
        return round(max(0.0, self._watcher.changed_at - self._started_at), 2)

    async def wait(self, timeout_s: float) -> bool:
        """Return True once settled, False after `timeout_s`. A pod that is about to end is waited for."""
        deadline = self._now() + timeout_s
        self._watcher.touch()  # what was applied just now counts as a change, even before its first pod is there
        while (left_s := deadline - self._now()) > 0:
            if self.is_settled(left_s):
                return True
            await asyncio.sleep(_LOOK_EVERY_S)
        return False


async def _once(options: Options, cluster: EmbeddedCluster, watcher: Watcher, settling: Settling) -> int:
    settled = await settling.wait(options.timeout_s)
    report = {**watcher.report(), "settled_s": settling.took_s()}
    waiting = not_running(report)
    problems = await missing_pods(cluster.client)
    if not settled:
        problems.append(f"not settled after {options.timeout_s:g} s")
    if options.once_json:
        sys.stdout.buffer.write(orjson.dumps(report, option=orjson.OPT_APPEND_NEWLINE))
        sys.stdout.flush()
    else:
        Console().print(draw(report, f"Settled after {report['settled_s']} s." if settled else ""))
    # The picture for people shows why pods wait; the object's reader may not look at every pod.
    for problem in [*(waiting if options.once_json else ()), *problems]:
        typer.echo(problem, err=True)
    return 1 if waiting or problems else 0


async def _live(cluster: EmbeddedCluster, watcher: Watcher, settling: Settling) -> None:
    """Show and serve until cancelled."""
    hint = (
        f"\nServing. In another terminal:\n  kubectl --kubeconfig {cluster.kubeconfig} get pods -A\n"
        "Ctrl-C stops everything.\n"
    )
    console = Console()
    if not console.is_terminal:
        # Into a file or a pipe: the settled picture once, instead of a frame for every change.
        await settling.wait(_READY_TIMEOUT_S)
        console.print(draw(watcher.report()))
        console.print(hint, soft_wrap=True)
        await asyncio.Event().wait()
    # Above the picture, where a terminal that is too small for all of it does not cut it off.
    console.print(hint, soft_wrap=True)
    with Live(console=console, auto_refresh=False) as live:
        drawn = -1
        while True:
            if watcher.version != drawn:
                drawn = watcher.version
                live.update(draw(watcher.report()), refresh=True)
            await asyncio.sleep(_REDRAW_EVERY_S)
