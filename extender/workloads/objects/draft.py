"""A pod while it is being put together, and how the pods of one kind of object differ from those of another."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from extender.workloads.objects.parts import without_empty
from extender.workloads.objects.submission import Submission

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Host:
    """What the object that makes the pods gives them and asks of them.

    container:  the name that its main container must have, "" for the job's.
    restart:    the restart policy, "" where the object allows none.
    index, uid: the pod's label that says its number, and the one that says its job's uid; "" when there is none.
    fields:     whether variables may be taken from fields of the pod.
    """

    container: str = ""
    restart: str = "Never"
    index: str = ""
    uid: str = ""
    fields: bool = True


@dataclass(slots=True)
class Draft:
    """The pod of one role; each aspect adds its part, and sees what those before it did.

    values:      of the role: a master's may differ from the submission's.
    environment: by name, the entries of `env`: what comes later replaces what is there, in its place.
    objects:     what has to exist beside the pod.
    """

    submission: Submission
    values: Json
    host: Host
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    spec: Json = field(default_factory=dict)
    container: Json = field(default_factory=dict)
    environment: dict[str, Json] = field(default_factory=dict)
    volumes: list[Json] = field(default_factory=list)
    mounts: list[Json] = field(default_factory=list)
    devices: list[Json] = field(default_factory=list)
    first: list[Json] = field(default_factory=list)  # the init containers
    objects: list[Json] = field(default_factory=list)

    def set(self, name: str, value: object) -> None:
        """A variable of the main container."""
        self.environment[name] = {"name": name, "value": str(value)}

    def mount(self, volume: str, source: Json, path: str, **mount: Any) -> None:
        """A volume of the pod at a path of the main container."""
        self.volumes.append({"name": volume, **source})
        self.mounts.append({"name": volume, "mountPath": path, **mount})

    def template(self) -> Json:
        """The pod template, with nothing in it that says nothing."""
        container = self.container | {
            "env": list(self.environment.values()),
            "volumeMounts": self.mounts,
            "volumeDevices": self.devices,
        }
        spec = self.spec | {
            "initContainers": self.first,
            "containers": [without_empty(container)],
            "volumes": self.volumes,
        }
        metadata = without_empty({"labels": self.labels, "annotations": self.annotations})
        return {"metadata": metadata, "spec": without_empty(spec)}
