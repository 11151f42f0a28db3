"""Whose values a policy judges: a pod, or a workload with a pod template, and how one of their values is read.

A reader gives what is said, one entry for each that differs: a value, or None for "left open". Most have one entry.
What each container says of its image and of security is one entry each, so that a rule holds for all of them. A writer
puts a value where it is left open, and nowhere else; what is read of it afterwards is that value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from extender.admission import fractions
from extender.model import names
from extender.wire import pods

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Subject:
    """pod: a pod or a pod template: `metadata`, `spec`. workload: the `spec` around the template; empty for a pod."""

    pod: Json
    workload: Json = field(default_factory=dict)

    @property
    def spec(self) -> Json:
        spec: Json = self.pod["spec"]
        return spec

    @property
    def annotations(self) -> Json:
        return dict((self.pod.get("metadata") or {}).get("annotations") or {})

    @property
    def labels(self) -> Json:
        return dict((self.pod.get("metadata") or {}).get("labels") or {})

    @property
    def containers(self) -> list[Json]:
        """Init containers too. Those that are added later to debug a pod are no part of it."""
        return [*(self.spec.get("containers") or ()), *(self.spec.get("initContainers") or ())]

    @property
    def main(self) -> Json:
        """The one container whose values a workload's are: that with GPUs, else the first."""
        containers = self.spec.get("containers") or ()
        if pods.shares_gpu(self.pod):
            return fractions.chosen(self.spec, self.annotations) or {}
        with_gpus = (one for one in containers if not pods.container_gpu(one, {}).is_cpu_only)
        return next(with_gpus, next(iter(containers), {}))

    @property
    def priority_class(self) -> str:
        """By its canonical name; "" for none. The label wins over the spec, as for the scheduler."""
        given = self.labels.get(names.PRIORITY_CLASS_LABEL) or self.spec.get("priorityClassName") or ""
        return names.PRIORITY_ALIASES.get(given, given)

    def annotate(self, key: str, text: str) -> None:
        self._mark("annotations", self.annotations | {key: text})

    def label(self, key: str, text: str) -> None:
        self._mark("labels", self.labels | {key: text})

    def _mark(self, which: str, marks: Json) -> None:
        self.pod["metadata"] = {**(self.pod.get("metadata") or {}), which: marks}


def _nothing(_: Subject) -> list[Any]:
    return [None]


@dataclass(frozen=True, slots=True)
class Scalar:
    """A single value.

    read: what is said, None for what is left open. write: `value` wherever it is left open, in place.
    usual: what the API server takes for left open, where it does: of each entry, or one of them all.
    is_permissive: left open is as good as true.
    """

    read: Callable[[Subject], list[Any]]
    write: Callable[[Subject, Any], None]
    usual: Callable[[Subject], list[Any]] = _nothing
    is_permissive: bool = False


@dataclass(frozen=True, slots=True)
class Items:
    """An itemized value, by label.

    read: what is said; given are the policy's own items, which have a label where a pod has none.
    write: add these, none of which is there.
    """

    read: Callable[[Subject, Json], Json]
    write: Callable[[Subject, Json], None]
