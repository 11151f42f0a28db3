"""Allocation and fragmentation as a picture: PNG, or one HTML file with the drawing in it.

matplotlib is an extra of its own (`pip install 'runai-scheduler[plot]'`): the service never needs it, so it is
imported here and nowhere else, when a plot is asked for.
"""

from __future__ import annotations

import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from extender.errors import ConfigError
from extender.simulate.result import Mode, Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".html")

_ALLOCATED = "tab:blue"
_FRAGMENTED = "tab:red"


def check(path: Path) -> None:
    """Can a plot be written there? Before the work, not after it. Raises ConfigError."""
    if path.suffix not in SUFFIXES:
        raise ConfigError(f"--plot {path}: a plot of kind {path.suffix!r}; must end in {' or '.join(SUFFIXES)}")
    if not path.parent.is_dir():
        raise ConfigError(f"--plot {path}: no folder {path.parent}; an existing one is needed")
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"--plot {path}: matplotlib is not installed; `pip install 'runai-scheduler[plot]'` brings it"
        ) from error


def write(results: Sequence[Result], path: Path) -> None:
    """Draw runs of one mode and policy, a line each, into `path`. The same runs give the same bytes.

    Raises ConfigError when the file cannot be written.
    """
    import matplotlib

    # SVG ids are salted with a random number otherwise, and the date goes into the file.
    with matplotlib.rc_context({"svg.hashsalt": "runai-scheduler", "svg.fonttype": "none"}):
        figure = _draw(results)
        try:
            if path.suffix == ".png":
                figure.savefig(path, format="png", dpi=150)
            else:
                path.write_text(_page(figure, _title(results)), encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"--plot {path}: cannot be written: {error.strerror or error}") from error


def _draw(results: Sequence[Result]) -> Figure:
    from matplotlib.figure import Figure

    # Not pyplot: it keeps figures, and picks a window system.
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    for number, result in enumerate(results):
        at = [sample.at for sample in result.curve]
        labelled = number == 0
        for values, colour, label in (
            ([sample.allocated_percent for sample in result.curve], _ALLOCATED, "allocated"),
            ([sample.fragmentation_percent for sample in result.curve], _FRAGMENTED, "fragmentation"),
        ):
            axes.plot(at, values, color=colour, linewidth=1.2, alpha=0.8, label=label if labelled else "_")
    _frame(axes, results)
    axes.set_title(_title(results))
    axes.set_ylabel("percent of GPU capacity")
    axes.set_ylim(0, 105)
    axes.grid(alpha=0.3)
    axes.legend(loc="center right")
    return figure


def _frame(axes: Axes, results: Sequence[Result]) -> None:
    """What tells the two modes apart: the line that nobody can cross, or the steps that did not count."""
    last = max((sample.at for result in results for sample in result.curve), default=0.0)
    axes.set_xlim(0, max(last, 1.0))
    if results[0].mode is Mode.FILL:
        axes.set_xlabel("arrived GPU demand, percent of capacity")
        axes.plot(
            [0, 100, max(last, 100)],
            [0, 100, 100],
            color="grey",
            linewidth=0.8,
            linestyle=":",
            label="arrived, at most 100",
        )
    else:
        axes.set_xlabel("steps (one arrival each)")
        axes.axvspan(0, results[0].warm_up_steps or 0, color="grey", alpha=0.12, label="warm-up")


def _title(results: Sequence[Result]) -> str:
    first = results[0]
    seeds = ", ".join(str(result.seed) for result in results)
    return f"{first.mode.value}, policy {first.policy}, seed{'s' if len(results) > 1 else ''} {seeds}"


def _page(figure: Figure, title: str) -> str:
    drawing = io.StringIO()
    figure.savefig(drawing, format="svg", metadata={"Date": None})
    svg = drawing.getvalue()
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>\n'
        f'<body style="margin:2em;font-family:sans-serif">\n{svg[svg.index("<svg") :]}</body></html>\n'
    )
