"""The commands of `runai-scheduler`: serve, reserve-gpu, demo, simulate, manifests."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Annotated

import typer

from extender import __version__, logs
from extender.app import Service, run
from extender.cli.demo import demo
from extender.cli.reserve_gpu import reserve_gpu
from extender.cli.simulate import simulate
from extender.errors import ConfigError, RunaiError
from extender.settings import load

cli = typer.Typer(
    name="runai-scheduler",
    help="GPU scheduling beside stock kube-scheduler.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
cli.command()(demo)
cli.command()(simulate)
cli.command("reserve-gpu")(reserve_gpu)


@cli.command()
def serve(
    config: Annotated[Path | None, typer.Option(help="YAML file of settings; flags and RUNAI_* win over it.")] = None,
    kubeconfig: Annotated[str | None, typer.Option(help="Else $KUBECONFIG, else the in-cluster account.")] = None,
    roles: Annotated[str | None, typer.Option(help="What to run, of extender,admission,workloads [all].")] = None,
    extender_address: Annotated[str | None, typer.Option(help="HOST:PORT of the verbs [127.0.0.1:8888].")] = None,
    admission_address: Annotated[
        str | None, typer.Option(help="HOST:PORT of the admission webhook, TLS [0.0.0.0:9443].")
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(help="PEM file to serve the webhook with; else we sign our own.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key. Both are read again when they change.")] = None,
    metrics_address: Annotated[
        str | None, typer.Option(help="HOST:PORT of /metrics and /readyz [0.0.0.0:9090].")
    ] = None,
    lease: Annotated[str | None, typer.Option(help="NAMESPACE/NAME of kube-scheduler's Lease to follow.")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error [info].")] = None,
) -> None:
    """Answer kube-scheduler's extender calls and the API server's admission reviews until SIGTERM."""
    try:
        settings = load(
            config,
            kubeconfig=kubeconfig,
            roles=roles,
            extender_address=extender_address,
            admission_address=admission_address,
            tls_cert=tls_cert,
            tls_key=tls_key,
            metrics_address=metrics_address,
            lease=lease,
            log_level=log_level,
        )
        logs.configure(settings.log_level)
        run(_serve(Service(settings)))
    except (RunaiError, OSError) as error:
        typer.echo(f"runai-scheduler: {error}", err=True)
        raise typer.Exit(2 if isinstance(error, ConfigError) else 1) from error


@cli.command()
def manifests(
    crds: Annotated[bool, typer.Option("--crds", help="Only the CustomResourceDefinitions.")] = False,
    write: Annotated[Path | None, typer.Option(help="Write the kustomize base below this folder instead.")] = None,
) -> None:
    """Print the install manifests, generated from the models that the code uses."""
    from extender.wire import manifests as install

    if write is not None:
        install.write(write)
    else:
        typer.echo(install.to_yaml(install.render(crds_only=crds)), nl=False)


@cli.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


async def _serve(service: Service) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await service.run(stop)
