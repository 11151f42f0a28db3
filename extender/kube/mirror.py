"""What a reflector holds, told object by object: a new list becomes the changes that lead to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Json = dict[str, Any]


_OF_CONTAINERS = frozenset({"name", "resources", "restartPolicy"})


def slim(obj: Json) -> Json:
    """The object without what is often its largest part: who manages which field."""
    obj["metadata"].pop("managedFields", None)
    return obj


def slim_pod(pod: Json) -> Json:
    """A pod with what its state and its requests are read from; without what its containers run with."""
    spec: Json = pod.get("spec") or {}
    spec.pop("volumes", None)
    for key in ("containers", "initContainers"):
        if key in spec:
            spec[key] = [{name: one[name] for name in _OF_CONTAINERS & one.keys()} for one in spec[key]]
    return slim(pod)


class Mirror:
    """A reflector's sink for kinds whose objects are kept as they are.

    tell: called with each version of an object, and whether it is gone; it must not raise.
    keep: takes from an object what nobody will read; it may change it.
    """

    def __init__(self, tell: Callable[[Json, bool], None], keep: Callable[[Json], Json] | None = None) -> None:
        self._tell = tell
        self._keep = keep or slim
        self._known: dict[str, Json] = {}  # by uid

    def read(self, obj: Json) -> Json:
        return self._keep(obj)

    def replace(self, values: list[Json], version: int) -> None:  # noqa: ARG002  the Sink's signature
        listed = {one["metadata"]["uid"]: one for one in values}
        for uid in [uid for uid in self._known if uid not in listed]:
            self._tell(self._known.pop(uid), True)
        for obj in values:
            self._changed("MODIFIED", obj)

    def apply(self, event: str, obj: Json) -> None:
        self._changed(event, self._keep(obj))

    def _changed(self, event: str, obj: Json) -> None:
        uid = obj["metadata"]["uid"]
        if event == "DELETED":
            self._known.pop(uid, None)
        else:
            self._known[uid] = obj
        self._tell(obj, event == "DELETED")
