"""What interactive work is watched with: the notebook's token and a TensorBoard beside it."""

from __future__ import annotations

from extender.workloads.objects.draft import Draft
from extender.workloads.objects.references import variable
from extender.workloads.objects.submission import TENSORBOARD_PORT

_TOKEN = "JUPYTER_TOKEN"  # what Jupyter servers read
_LOGS = "/logs"


def add_tools(draft: Draft) -> None:
    """notebookToken, tensorboard, tensorboardLogdir. After everything that is mounted.

    TensorBoard comes from the workload's own image and sees what the main container has mounted. It is a sidecar of
    Kubernetes (an init container that goes on), so it neither keeps a finished pod alive nor needs a GPU.
    """
    values = draft.values
    if values.get("notebookToken"):
        draft.environment[_TOKEN] = variable(_TOKEN, values["notebookToken"])
    if values.get("tensorboard"):
        logs = str(values.get("tensorboardLogdir") or _LOGS)
        draft.first.append(
            {
                "name": "tensorboard",
                "image": draft.container["image"],
                "command": ["tensorboard", "--bind_all", f"--port={TENSORBOARD_PORT}", f"--logdir={logs}"],
                "restartPolicy": "Always",
                "volumeMounts": list(draft.mounts),
            }
        )
