"""What a reflector holds, told object by object: a new list becomes the changes that lead to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Json = dict[str, Any]


class Mirror:
    """A reflector's sink for kinds whose objects are kept as they are.

    tell: called with each version of an object, and whether it is gone; it must not raise.
    """

    def __init__(self, tell: Callable[[Json, bool], None]) -> None:
        self._tell = tell
        self._known: dict[str, Json] = {}  # by uid

    def read(self, obj: Json) -> Json:
        return obj

    def replace(self, values: list[Json], version: int) -> None:  # noqa: ARG002  the Sink's signature
        listed = {one["metadata"]["uid"]: one for one in values}
        for uid in [uid for uid in self._known if uid not in listed]:
            self._tell(self._known.pop(uid), True)
        for obj in values:
            self.apply("MODIFIED", obj)

    def apply(self, event: str, obj: Json) -> None:
        uid = obj["metadata"]["uid"]
        if event == "DELETED":
            self._known.pop(uid, None)
        else:
            self._known[uid] = obj
        self._tell(obj, event == "DELETED")
