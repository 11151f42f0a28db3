"""The flags of a submission: one for each parameter of the flat models of `wire/workloads`, made of name, type and
description there. Here stand only what else people are used to calling it, and how its values are abbreviated.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from extender.model.workload import Type, WorkloadKind
from extender.wire.workloads import FLAT, FlatField, flat_fields

# Other names of the flags, as earlier command lines had them; a name after "/" says no.
_ALIASES: Mapping[str, tuple[str, ...]] = {
    "allowPrivilegeEscalation": ("/--prevent-privilege-escalation",),
    "annotations": ("--annotation", "-a"),
    "arguments": ("--args",),
    "capabilities": ("--add-capability",),
    "configMapVolumes": ("--configmap-volume",),
    "emptyDirVolumes": ("--empty-dir-volume",),
    "environment": ("-e",),
    "exposedUrls": ("--custom-url",),
    "extendedResources": ("--extended-resource",),
    "gpu": ("-g",),
    "image": ("-i",),
    "imagePullSecrets": ("--image-pull-secret",),
    "labels": ("--label", "-l"),
    "masterArguments": ("--master-args",),
    "masterExtendedResources": ("--master-extended-resource",),
    "migProfile": ("--mig",),
    "namePrefix": ("--job-name-prefix",),
    "ports": ("--port",),
    "pvcs": ("--pvc",),
    "runPolicy.ttlAfterFinish": ("--auto-deletion-time-after-completion",),
    "secretVolumes": ("--secret-volume",),
    "serviceType": ("-s",),
    "tolerations": ("--toleration",),
    "ttlAfterFinish": ("--auto-deletion-time-after-completion",),
    "tty": ("-t",),
    "username": ("--user", "-u"),
    "volumes": ("--volume", "-v"),
    "workers": ("--processes",),
}
_FORMS: Mapping[str, str] = {
    "annotations": "KEY=VALUE",
    "capabilities": "NAME",
    "environment": "NAME=VALUE",
    "extendedResources": "NAME=QUANTITY",
    "imagePullSecrets": "NAME",
    "labels": "KEY=VALUE",
    "masterEnvironment": "NAME=VALUE",
    "masterExtendedResources": "NAME=QUANTITY",
    "ports": "[EXTERNAL:]CONTAINER",
    "pvcs": "CLAIM:PATH[:ro] or [CLASS]:SIZE:PATH[:ro]",
    "volumes": "SOURCE:TARGET[:ro]",
}
# The parameter with which each group of the help begins, in the order of the models.
_PANELS = {
    "name": "Identity",
    "image": "Container Definition",
    "gpu": "Resource Allocation",
    "volumes": "Storage",
    "ports": "Network",
    "nodeType": "Scheduling",
    "runAsUser": "Security",
}
_PANEL_OF_KIND = "Kind of Work"
# Said by the words after `--`, and by a flag that says what they are.
_BY_WORDS = "command"


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag. part: the parameter that it is a member of, as in runPolicy; "" for a parameter of its own."""

    field: FlatField
    part: str
    kinds: tuple[WorkloadKind, ...]  # that have it
    panel: str

    @property
    def key(self) -> str:
        return f"{self.part}.{self.field.name}" if self.part else self.field.name

    @property
    def is_repeatable(self) -> bool:
        return self.field.itemized or self.field.marks.type is Type.TEXTS

    @property
    def names(self) -> tuple[str, ...]:
        """As typer takes them: "--gpu", "-g"; of a boolean "--tty/--no-tty", "-t"."""
        name = f"--{kebab(self.field.name)}"
        no = f"/--no-{name[2:]}" if self.field.marks.type is Type.BOOLEAN else ""
        rest = []
        for alias in _ALIASES.get(self.key, ()):
            if alias.startswith("/"):
                no = alias
            else:
                rest.append(alias)
        return (name + no, *rest)

    @property
    def annotation(self) -> Any:
        """The type and help for typer; every flag may be left out."""
        of: Any = {Type.BOOLEAN: bool, Type.INTEGER: int}.get(self.field.marks.type, str)
        typed: Any = (list[str] if self.is_repeatable else of) | None
        form = _FORMS.get(self.key) or (_members(self.field) if self.is_repeatable else None)
        option = typer.Option(
            *self.names, help=self.field.description, metavar=form, rich_help_panel=self.panel, show_default=False
        )
        return Annotated[typed, option]


def flags(kinds: Iterable[WorkloadKind], *, without: Iterable[str] = ()) -> dict[str, Flag]:
    """The flags of a command that submits any of `kinds`, by key, in the order of the help.

    without: parameters that have none, because another flag or the command itself says them.
    """
    fields: dict[str, tuple[FlatField, str]] = {}
    having: dict[str, list[WorkloadKind]] = {}
    kinds = tuple(kinds)
    for kind in kinds:
        for part, field in _flat(kind):
            key = f"{part}.{field.name}" if part else field.name
            if _BY_WORDS not in key and part not in without and key not in without:
                fields[key] = (field, part)
                having.setdefault(key, []).append(kind)
    made = {}
    panel = _PANEL_OF_KIND
    for key in sorted(fields, key=lambda one: having[one] != list(kinds)):  # stable: those of all kinds first
        field, part = fields[key]
        panel = _PANELS.get(key, panel)
        if having[key] != list(kinds):
            panel = f"{' and '.join(having[key])} only"
        made[key] = Flag(field, part, tuple(having[key]), panel)
    return made


def command(
    run: Callable[..., None], of: Mapping[str, Flag], own: Mapping[str, tuple[Any, Any]], about: str
) -> Callable[..., None]:
    """A function for typer that has a parameter for each flag and calls `run(given, **own)`.

    run: takes `given`, the values of the flags that were given by key, and `own` by name. own: annotation and default
    of the parameters that are no flags of the models. about: the help.
    """
    keys = {f"p_{key.replace('.', '_of_')}": key for key in of}

    def called(**arguments: Any) -> None:
        given = {key: arguments.pop(name) for name, key in keys.items()}
        run({key: value for key, value in given.items() if value not in (None, [])}, **arguments)

    typed = {name: one for name, (one, _) in own.items()} | {name: of[key].annotation for name, key in keys.items()}
    defaults = {name: default for name, (_, default) in own.items()}
    called.__doc__ = about
    called.__annotations__ = {**typed, "return": None}
    called.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=defaults.get(name), annotation=annotation)
            for name, annotation in typed.items()
        ]
    )
    return called


def kebab(name: str) -> str:
    """ttlAfterFinish is ttl-after-finish."""
    return re.sub(r"([a-z0-9])([A-Z])", r"\1-\2", name).lower()


def _flat(kind: WorkloadKind) -> Iterable[tuple[str, FlatField]]:
    """Each parameter of a kind; of one that is an object its members, with its name."""
    for field in flat_fields(FLAT[kind]):
        if field.marks.type is Type.OBJECT and not field.itemized:
            for member in flat_fields(field.annotation):
                yield field.name, member
        else:
            yield "", field


def _members(field: FlatField) -> str | None:
    if not field.itemized:
        return None
    return "MEMBER=VALUE,…: " + ", ".join(one.name for one in flat_fields(field.item))
