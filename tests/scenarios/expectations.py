"""What a scenario says is so, compared with the cluster: `expect` and `steady`."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from extender.errors import NotFoundError
from extender.kube.client import KubeClient
from tests.scenarios.cluster import pods_of_users
from tests.scenarios.process import Extender

Json = dict[str, Any]

_EVICTED = frozenset({"Consolidated", "Reclaimed", "Preempted", "StaleGang"})
_OURS = "runai-scheduler"


class Expectations:
    """gated: the pods of this play have gates, so kube-scheduler says nothing about those that wait."""

    def __init__(self, client: KubeClient, extender: Extender, *, gated: bool) -> None:
        self._client = client
        self._extender = extender
        self._gated = gated
        self._earlier: frozenset[str] = frozenset()

    async def begin(self) -> None:
        """What was said before belongs to another play."""
        self._earlier = frozenset(event["metadata"]["uid"] for event in await self._ours())

    async def problems(self, value: Json) -> list[str]:
        found: list[str] = []
        listed = await pods_of_users(self._client)
        by_key = {f"{pod['metadata']['namespace']}/{pod['metadata']['name']}": pod for pod in listed}
        snapshot = await self._extender.snapshot() if self._extender.is_running else {"pods": []}
        seen = {one["uid"]: one for one in snapshot["pods"]}
        for key, due in (value.get("pods") or {}).items():
            pod = by_key.get(key)
            if key.endswith("*"):
                pod = next((by_key[one] for one in sorted(by_key) if one.startswith(key[:-1])), None)
            if pod is None:
                found.append(f"pod {key} is not there")
            else:
                found.extend(f"pod {key}: {one}" for one in await self._differs(pod, due, seen))
        found.extend(await self._miscounted(value, listed))
        devices: list[tuple[str, str, str]] = []
        for together in value.get("sharing") or ():
            places = {_place(by_key.get(key)) for key in together}
            if len(places) != 1 or None in places:
                found.append(f"{together} share no device: {places}")
            devices.extend(place for place in places if place is not None)
        if not found and len(set(devices)) != len(devices):
            found.append(f"two lists of `sharing` are on one device: {devices}")
        for path, due in (value.get("objects") or {}).items():
            try:
                found.extend(f"{path}: {one}" for one in _unequal(await self._client.get(path), due, ""))
            except NotFoundError:
                found.append(f"{path} is not there")
        return found

    async def _differs(self, pod: Json, due: Json, seen: Mapping[str, Json]) -> list[str]:
        found: list[str] = []
        metadata, uid = pod["metadata"], pod["metadata"]["uid"]
        facts = {
            "phase": (pod.get("status") or {}).get("phase"),
            "node": pod["spec"].get("nodeName", ""),
            "reason": seen.get(uid, {}).get("reason"),
        }
        for key, wanted in due.items():
            if key in facts and facts[key] != wanted:
                found.append(f"{key} is {facts[key]!r}, {wanted!r} is due")
            elif key in ("annotations", "labels"):
                have = metadata.get(key) or {}
                found.extend(
                    f"{key} {name}: {have.get(name)!r}, {text!r} is due"
                    for name, text in wanted.items()
                    if name not in have or (text is not None and have[name] != text)
                )
            elif key == "message":
                events = await self._events(pod)
                said = [event["message"] for event in events if event["reason"] == due.get("reason")]
                if wanted not in said:
                    found.append(f"our Events say {said}, {wanted!r} is due")
                if seen.get(uid, {}).get("message") != wanted:
                    found.append(f"the snapshot says {seen.get(uid, {}).get('message')!r}, {wanted!r} is due")
            elif key == "scheduler_says" and self._gated:
                continue
            elif key == "scheduler_says":
                events = await self._events(pod)
                said = [event["message"] for event in events if event["reason"] == "FailedScheduling"]
                if not any(wanted in text for text in said):
                    found.append(f"FailedScheduling says {said}, {wanted!r} is due")
            elif key not in facts and key != "message":
                raise ValueError(f"unknown expectation {key}")
        return found

    async def _events(self, pod: Json) -> list[Json]:
        metadata = pod["metadata"]
        events, _ = await self._client.list(
            f"/api/v1/namespaces/{metadata['namespace']}/events",
            params={"fieldSelector": f"involvedObject.uid={metadata['uid']}"},
        )
        return events

    async def calm(self, pods: frozenset[str] | None = None) -> Json:
        """What must not move while nothing happens: where pods are, who was evicted, what we said about them.

        pods: their uids; without, all that there are.
        """
        listed = await pods_of_users(self._client)
        known = frozenset(pod["metadata"]["uid"] for pod in listed) if pods is None else pods
        events = await self._ours()
        return {
            "pods": known,
            "places": {_key(pod): (pod["metadata"]["uid"], pod["spec"]["nodeName"]) for pod in listed if _runs(pod)},
            "said": sorted(
                (event["metadata"]["uid"], event["reason"], event["message"])
                for event in events
                if event["reason"] in _EVICTED or event["involvedObject"]["uid"] in known
            ),
        }

    async def _ours(self) -> list[Json]:
        events, _ = await self._client.list("/api/v1/events")
        return [
            event
            for event in events
            if (event.get("source") or {}).get("component") == _OURS and event["metadata"]["uid"] not in self._earlier
        ]

    async def _miscounted(self, value: Json, pods: Iterable[Json]) -> list[str]:
        """`running`, `pending`, `evicted`: how many pods of each `ns/name*`; `said`: our Events about such pods."""
        found: list[str] = []
        if not value.keys() & {"running", "pending", "evicted", "said"}:
            return found
        events = await self._ours()
        evicted = {event["involvedObject"]["uid"]: _about(event) for event in events if event["reason"] in _EVICTED}
        counted = {
            "running": [_key(pod) for pod in pods if _runs(pod)],
            "pending": [_key(pod) for pod in pods if _waits(pod)],
            "evicted": list(evicted.values()),
        }
        for state, keys in counted.items():
            for pattern, due in (value.get(state) or {}).items():
                number = sum(_matches(key, pattern) for key in keys)
                if number != due:
                    found.append(f"{number} pods {pattern} are {state}, {due} are due")
        for due in value.get("said") or ():
            said = Counter(
                event["message"]
                for event in events
                if event["reason"] == due["reason"] and _matches(_about(event), due["pod"])
            )
            if not any(re.fullmatch(due["message"], text) for text in said):
                found.append(f"about {due['pod']} we say {due['reason']}: {list(said)}, {due['message']!r} is due")
        return found


def _key(pod: Json) -> str:
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"


def _about(event: Json) -> str:
    return f"{event['involvedObject']['namespace']}/{event['involvedObject']['name']}"


def _matches(key: str, pattern: str) -> bool:
    return key.startswith(pattern[:-1]) if pattern.endswith("*") else key == pattern


def _runs(pod: Json) -> bool:
    return (pod.get("status") or {}).get("phase") == "Running" and not pod["metadata"].get("deletionTimestamp")


def _waits(pod: Json) -> bool:
    return not pod["spec"].get("nodeName") and not pod["metadata"].get("deletionTimestamp")


def _place(pod: Json | None) -> tuple[str, str, str] | None:
    if pod is None or not pod["spec"].get("nodeName"):
        return None
    metadata = pod["metadata"]
    return (
        pod["spec"]["nodeName"],
        (metadata.get("annotations") or {}).get("runai-gpu", ""),
        (metadata.get("labels") or {}).get("runai-gpu-group", ""),
    )


def _unequal(have: Any, due: Any, path: str) -> list[str]:
    """Where `have` lacks what `due` says; mappings may have more."""
    if isinstance(due, dict) and isinstance(have, dict):
        return [one for key, value in due.items() for one in _unequal(have.get(key), value, f"{path}.{key}")]
    if isinstance(due, list) and isinstance(have, list) and len(due) == len(have):
        return [one for index, value in enumerate(due) for one in _unequal(have[index], value, f"{path}.{index}")]
    return [] if have == due else [f"{path.lstrip('.')} is {json.dumps(have)}, {json.dumps(due)} is due"]
