"""What is to be rendered, and the choices of it that several modules share."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from extender.model.pod import Owner
from extender.model.workload import WorkloadKind

Json = dict[str, Any]

MPI = "MPI"
INGRESS = "ingress"
JUPYTER_IMAGE = "jupyter/scipy-notebook"
JUPYTER_PORT = 8888
JUPYTER_LABEL = "jupyter"
TENSORBOARD_PORT = 6006
TENSORBOARD_LABEL = "tensorboard"


class Backend(StrEnum):
    """What work that ends runs as: our own RunaiJob, or what every cluster has (Job, StatefulSet)."""

    RUNAI = "RunaiJob"
    KUBERNETES = "Kubernetes"


@dataclass(frozen=True, slots=True)
class Images:
    """What runs beside a researcher's own image; the administrator says where the cluster finds them.

    git_sync: understands the GIT_SYNC_* variables (git-sync 3).
    s3:       has `rclone` as its entrypoint.
    """

    git_sync: str = "git-sync:v3.6.9"
    s3: str = "rclone/rclone:1.68"


@dataclass(frozen=True, slots=True)
class Submission:
    """One submission, checked and named.

    workload:   the resource that owns all the objects.
    job:        the name of the job, free in the namespace.
    values:     of the values set, plain: {"gpu": "1", "ports": {"web": {"container": 80}}}; choices in canonical
                spelling, though letters count alike in any case here too. Not changed.
    job_type:   of distributed work: MPI, PyTorch, TF or XGBoost.
    apis:       "group/Kind" of what the cluster serves beside Kubernetes itself, such as "kubeflow.org/PyTorchJob".
    user:       who submits, for display.
    base_name, base_index: what the job's name was made of, "" and None when it was given as such.
    """

    kind: WorkloadKind
    namespace: str
    project: str
    workload: Owner
    job: str
    values: Json
    job_type: str = ""
    apis: frozenset[str] = frozenset()
    backend: Backend = Backend.RUNAI
    user: str = ""
    base_name: str = ""
    base_index: int | None = None
    images: Images = field(default_factory=Images)

    @property
    def is_interactive(self) -> bool:
        return self.kind is WorkloadKind.INTERACTIVE

    @property
    def is_serving(self) -> bool:
        return self.kind in (WorkloadKind.INFERENCE, WorkloadKind.DEPLOYMENT)

    @property
    def operator(self) -> str:
        """The type of distributed work that it is, "" when it is none."""
        if self.kind is WorkloadKind.DISTRIBUTED:
            return self.job_type
        return MPI if self.values.get("mpi") and not self.is_serving else ""

    @property
    def workers(self) -> int:
        """Of distributed work, the master or launcher not among them."""
        name = "workers" if self.kind is WorkloadKind.DISTRIBUTED else "processes"
        return int(self.values.get(name) or 1)

    @property
    def path(self) -> str:
        """Where the cluster's ingress finds it when it has one port."""
        return f"/{self.project}-{self.job}"


def expanded(values: Json, path: str) -> Json:
    """The values with what `jupyter` and `tensorboard` stand for: image, ports, the URL that a notebook has.

    What is given wins; the arguments behind an ingress are for the command that is filled in with them, so those of a
    command of the submitter's own stay as they are. Source: behaviour.md 2.7.
    """
    filled: Json = {}
    if values.get("jupyter"):
        filled = {"image": JUPYTER_IMAGE, "ports": {JUPYTER_LABEL: {"container": JUPYTER_PORT}}}
        if str(values.get("serviceType") or "").lower() == INGRESS and not values.get("command"):
            filled |= {"command": "start-notebook.sh", "arguments": f"--NotebookApp.base_url={path}"}
    full = values | {key: value for key, value in filled.items() if not values.get(key)}
    if values.get("tensorboard"):
        full["ports"] = {TENSORBOARD_LABEL: {"container": TENSORBOARD_PORT}} | (full.get("ports") or {})
    return full
