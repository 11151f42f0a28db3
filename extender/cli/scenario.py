"""`runai-scheduler simulate --scenario FILE`: play recorded situations through the deciding code and compare."""

from __future__ import annotations

from pathlib import Path

import typer

from extender.errors import ConfigError


def play(path: Path | None, wanted: str | None, *, as_json: bool) -> None:
    """Run the cases of a file, or the one with id `wanted`, and print an object or a line for each.

    Exit status 0 when all passed, 1 when some did not, 2 for a file that cannot be read.
    """
    import orjson

    from extender.simulate import scenario_file, scenario_run

    try:
        if path is None:
            raise ConfigError("--id: only with --scenario FILE")
        passed = True
        for case in scenario_file.read(path, wanted):
            outcome = scenario_run.run(case)
            passed = passed and outcome.passed
            if as_json:
                typer.echo(orjson.dumps(outcome.to_json()))
                continue
            word = "passed" if outcome.passed else "unsupported" if outcome.unsupported else "FAILED"
            typer.echo(f"{word:11} {case.id}" + (f": {outcome.unsupported}" if outcome.unsupported else ""))
            for difference in outcome.differences:
                typer.echo(f"            {difference}")
    except (ConfigError, OSError) as error:
        typer.echo(f"runai-scheduler simulate: {error}", err=True)
        raise typer.Exit(2) from error
    if not passed:
        raise typer.Exit(1)
