"""`runai-scheduler simulate`: how well a policy packs given pods on given nodes, before any of them exists."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from extender.errors import ConfigError, RunaiError

if TYPE_CHECKING:
    from rich.table import Table

    from extender.pods.placement import Policy
    from extender.simulate.result import Progress, Result
    from extender.simulate.workload import Workload

_DEFAULT_SEED = "42"
_DEFAULT_INFLATE = 1.3
_MOST_SEEDS = 1000
_MOST_LOAD = 100.0  # times capacity; more is a slip of the keyboard that would run for hours
_MOST_STEPS = 100_000_000


def simulate(
    nodes: Annotated[
        Path | None, typer.Option(help="Trace CSV (sn,cpu_milli,memory_mib,gpu,model), or Node objects: YAML, JSON.")
    ] = None,
    pods: Annotated[
        Path | None,
        typer.Option(help="Trace CSV (name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec), or Pod objects."),
    ] = None,
    seed: Annotated[str, typer.Option(help="A number; 42-46 or 42,43 run one after the other.")] = _DEFAULT_SEED,
    inflate: Annotated[float | None, typer.Option(help="Fill up to this many times the GPU capacity [1.3].")] = None,
    policy: Annotated[str | None, typer.Option(help="How nodes are chosen; the service's default otherwise.")] = None,
    churn: Annotated[
        float | None, typer.Option(help="Pods leave too: offer this many times the GPU capacity, such as 0.95.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="With --churn: arrivals, the first half warm-up [six mean lifetimes].")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a seed on stdout, and nothing else.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Write allocation and fragmentation to FILE.png or .html.")] = None,
    scenario: Annotated[
        Path | None, typer.Option(help="Run the cases of this YAML file through the deciding code instead.")
    ] = None,
    id_: Annotated[str | None, typer.Option("--id", help="With --scenario: only the case with this id.")] = None,
) -> None:
    """Pack pods on nodes as the service would, and measure it: allocation, fragmentation, time of a decision.

    With --scenario: play cases of gangs, projects and fair share, and compare. Exit status 1 when one differs.
    """
    if scenario is not None or id_ is not None:
        from extender.cli.scenario import play

        play(scenario, id_, as_json=json)
        return
    try:
        results = _run(nodes, pods, seed, inflate, policy, churn, steps, plot, as_json=json)
    except (RunaiError, OSError) as error:
        typer.echo(f"runai-scheduler simulate: {error}", err=True)
        raise typer.Exit(2 if isinstance(error, ConfigError) else 1) from error
    if not json:
        from rich.console import Console

        Console().print(_table(results))


def _run(
    nodes: Path | None,
    pods: Path | None,
    seed: str,
    inflate: float | None,
    policy_name: str | None,
    rho: float | None,
    steps: int | None,
    plot_file: Path | None,
    *,
    as_json: bool,
) -> list[Result]:
    """Check every option before any work, read, run; with `as_json`, print each result as it comes."""
    import orjson

    from extender.simulate import inputs, plot

    if nodes is None or pods is None:
        raise ConfigError("--nodes FILE and --pods FILE are needed")
    seeds = _seeds(seed)
    policy = _policy(policy_name)
    _check_loads(inflate, rho, steps)
    if plot_file is not None:
        plot.check(plot_file)
    workload = inputs.load(nodes, pods, lambda sentence: typer.echo(sentence, err=True))
    results: list[Result] = []
    for number, one in enumerate(seeds, start=1):
        with _progress(f"seed {one} ({number} of {len(seeds)})") as progress:
            result = _one(workload, policy, one, inflate, rho, steps, with_curve=plot_file is not None, bar=progress)
        results.append(result)
        if as_json:
            typer.echo(orjson.dumps(result.to_json()))
    if plot_file is not None:
        plot.write(results, plot_file)
    return results


def _one(
    workload: Workload,
    policy: Policy,
    seed: int,
    inflate: float | None,
    rho: float | None,
    steps: int | None,
    *,
    with_curve: bool,
    bar: Progress,
) -> Result:
    from extender.simulate.churn import churn, default_steps
    from extender.simulate.fill import fill

    if rho is None:
        load = _DEFAULT_INFLATE if inflate is None else inflate
        return fill(workload, policy, seed=seed, inflate=load, with_curve=with_curve, progress=bar)
    count = default_steps(workload, rho) if steps is None else steps
    return churn(workload, policy, seed=seed, rho=rho, steps=count, with_curve=with_curve, progress=bar)


def _seeds(text: str) -> list[int]:
    """`42`, `42-46`, `42,43` or a mixture. Raises ConfigError."""
    error = ConfigError(f"--seed {text}: must be a number of 0 or more, a range such as 42-46, or a list such as 42,43")
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        last = last if dash else first
        if not all(one.isascii() and one.isdigit() and len(one) <= 18 for one in (first, last)):
            raise error
        if not 0 <= int(last) - int(first) < _MOST_SEEDS - len(seeds):
            raise error if int(last) < int(first) else ConfigError(f"--seed {text}: more than {_MOST_SEEDS} seeds")
        seeds.extend(range(int(first), int(last) + 1))
    return seeds


def _policy(name: str | None) -> Policy:
    from extender.packing.strategy import Strategy
    from extender.pods.placement import Policy

    if name is None:
        return Policy()
    try:
        strategy = Strategy(name)
    except ValueError as error:
        known = ", ".join(one.value for one in Strategy)
        raise ConfigError(f"--policy {name}: no such policy; must be one of {known}") from error
    return Policy(gpu_strategy=strategy, cpu_strategy=strategy)


def _check_loads(inflate: float | None, rho: float | None, steps: int | None) -> None:
    for option, load in (("--inflate", inflate), ("--churn", rho)):
        # Written so that "not a number" fails too.
        if load is not None and not 0 < load <= _MOST_LOAD:
            raise ConfigError(f"{option} {load:g}: must be above 0 and at most {_MOST_LOAD:g} times the capacity")
    if rho is None and steps is not None:
        raise ConfigError(f"--steps {steps}: only with --churn RHO; a fill ends by --inflate")
    if rho is not None and inflate is not None:
        raise ConfigError(f"--inflate {inflate:g}: not with --churn, whose load is RHO")
    if steps is not None and not 2 <= steps <= _MOST_STEPS:
        raise ConfigError(f"--steps {steps}: must be from 2 to {_MOST_STEPS}")


@contextmanager
def _progress(label: str) -> Iterator[Progress]:
    """A bar on stderr, where somebody is looking; stdout stays clean."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(
        *columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty(), refresh_per_second=4
    ) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _table(results: list[Result]) -> Table:
    """A line a seed, and their mean when there are several. A dash: not measured in this mode."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(
        title=f"{results[0].mode.value}, policy {results[0].policy}",
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    rows: list[list[float | None]] = [
        [
            result.allocated_percent_at_100,
            result.allocated_percent_at_130,
            result.lost_percent,
            result.mean_allocated_percent,
            result.fragmentation_percent,
            result.refused_though_fitting,
            result.decisions,
            result.decision_us_p50,
            result.decision_us_p99,
        ]
        for result in results
    ]
    table.add_column("Seed", justify="right")
    for title, values in zip(_TITLES, zip(*rows, strict=True), strict=True):
        if any(value is not None for value in values):
            table.add_column(title, justify="right")
    shown = [at for at, values in enumerate(zip(*rows, strict=True)) if any(value is not None for value in values)]
    for result, row in zip(results, rows, strict=True):
        table.add_row(str(result.seed), *(_cell(row[at]) for at in shown))
    if len(results) > 1:
        table.add_section()
        means = [[value for row in rows if (value := row[at]) is not None] for at in shown]
        table.add_row("mean", *(_mean(values) for values in means))
    return table


# Short enough for a terminal of 80 columns.
_TITLES = (
    "Alloc. %\nat 100",
    "Alloc. %\nat 130",
    "Lost %",
    "Mean\nalloc. %",
    "Fragm. %",
    "Refused\nthough\nfitting",
    "Decisions",
    "p50 µs",
    "p99 µs",
)


def _cell(value: float | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.2f}"


def _mean(values: list[float]) -> str:
    """The mean, as exact as its values are: whole numbers are counts, which may have a fraction on average."""
    mean = sum(values) / len(values)
    return f"{mean:.7g}" if all(isinstance(value, int) for value in values) else f"{mean:.2f}"
