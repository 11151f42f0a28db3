"""Submissions to render, and a way to look at what came out: `rendered(gpu="1").container["resources"]`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from extender.model.pod import Owner
from extender.model.workload import WorkloadKind
from extender.workloads.objects import Submission, render

Json = dict[str, Any]


def submission(
    kind: WorkloadKind = WorkloadKind.TRAINING, values: Json | None = None, *, job: str = "j", **given: Any
) -> Submission:
    owner = Owner(kind.workload, "my-workload", "0a1b", "run.ai/v2alpha1")
    return Submission(kind, "runai-team-a", "team-a", owner, job, {"image": "busybox"} | (values or {}), **given)


@dataclass
class Rendered:
    objects: list[Json]

    @property
    def names(self) -> list[str]:
        return [f"{one['kind']} {one['metadata']['name']}" for one in self.objects]

    @property
    def job(self) -> Json:
        return self.objects[-1]

    @property
    def spec(self) -> Json:
        return self.job["spec"]

    @property
    def template(self) -> Json:
        return self.spec["template"]

    @property
    def pod(self) -> Json:
        return self.template["spec"]

    @property
    def annotations(self) -> Json:
        return self.template["metadata"].get("annotations", {})

    @property
    def labels(self) -> Json:
        return self.template["metadata"]["labels"]

    @property
    def container(self) -> Json:
        return self.pod["containers"][0]

    @property
    def environment(self) -> Json:
        return environment(self.container)

    @property
    def mounts(self) -> list[tuple[Json, Json]]:
        """(volume, mount) without the name that connects them."""
        volumes = {one["name"]: without_name(one) for one in self.pod.get("volumes", ())}
        return [(volumes[one["name"]], without_name(one)) for one in self.container.get("volumeMounts", ())]

    def all(self, kind: str) -> list[Json]:
        return [one for one in self.objects if one["kind"] == kind]

    def one(self, kind: str, name: str = "") -> Json:
        (found,) = (one for one in self.all(kind) if not name or one["metadata"]["name"] == name)
        return found


def rendered(kind: WorkloadKind = WorkloadKind.TRAINING, /, *, given: Json | None = None, **values: Any) -> Rendered:
    """given: fields of the Submission itself."""
    return Rendered(render(submission(kind, values, **(given or {}))))


def environment(container: Json) -> Json:
    """Name → value, or where it is taken from."""
    return {one["name"]: one.get("value", one.get("valueFrom")) for one in container.get("env", ())}


def without_name(obj: Json) -> Json:
    return {key: value for key, value in obj.items() if key != "name"}


def names(objects: Iterable[Json]) -> list[str]:
    return [one["name"] for one in objects]
