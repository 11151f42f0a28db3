"""Between what is stored and what a version of a built-in kind serves: only events have two shapes.

Custom resources come here in the version that is served already: `versions`.
"""

from __future__ import annotations

from extender.emulator.resources import EVENTS, JSON, Resource

# core/v1 name → events.k8s.io/v1 name
_EVENT_FIELDS = {
    "message": "note",
    "involvedObject": "regarding",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
    "reportingComponent": "reportingController",
}
_CORE_EVENT_FIELDS = {new: old for old, new in _EVENT_FIELDS.items()}


def to_served(resource: Resource, obj: JSON) -> JSON:
    """A stored object with the field names of `resource`; shares parts with `obj`."""
    if resource.group == "events.k8s.io":
        return {_EVENT_FIELDS.get(key, key): value for key, value in obj.items()}
    return obj


def to_stored(resource: Resource, obj: JSON) -> JSON:
    """An object as a client of `resource` writes it, with the names it is stored under and without its type."""
    if resource.storage == EVENTS and resource.group:
        obj = {_CORE_EVENT_FIELDS.get(key, key): value for key, value in obj.items()}
    obj.pop("apiVersion", None)
    obj.pop("kind", None)
    return obj
