"""Admission webhooks: which configurations match a write, and what they make of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from extender.emulator.resources import JSON, MUTATING_WEBHOOKS, VALIDATING_WEBHOOKS, Resource
from extender.emulator.store import Store


ServiceResolver = Callable[[str, str, int], str]


@dataclass(slots=True)
class Operation:
    """One write as admission sees it; `obj` is None for DELETE, `old` for CREATE."""

    verb: str
    resource: Resource
    namespace: str
    obj: JSON | None
    old: JSON | None
    dry_run: bool = False
    warnings: list[str] = field(default_factory=list)
    subresource: str = ""
    name: str = ""


class Admission:
    """Calls the webhooks that configuration objects in the store ask for."""

    def __init__(self, store: Store, service_resolver: ServiceResolver | None = None) -> None:
        self._store = store
        self.service_resolver = service_resolver

    async def close(self) -> None:
        return None

    def mutates(self, resource: Resource, subresource: str = "") -> bool:
        return bool(self._store.count(MUTATING_WEBHOOKS))

    def validates(self, resource: Resource, subresource: str = "") -> bool:
        return bool(self._store.count(VALIDATING_WEBHOOKS))

    async def mutate(self, operation: Operation) -> JSON:
        return operation.obj or {}

    async def validate(self, operation: Operation) -> None:
        return None
