"""The set as a whole: the seed's example, order, owner, and the same bytes for the same submission."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from extender.model.workload import WorkloadKind
from extender.workloads.objects import Backend, Submission, render
from tests.submissions import Rendered, rendered, submission

Json = dict[str, Any]
K = WorkloadKind
FULL: Json = {
    "gpu": "1",
    "ports": {"b": {"container": 1}, "a": {"container": 2, "serviceType": "ingress"}},
    "pvcs": {"b": {"size": "1Gi", "path": "/b"}, "a": {"size": "1Gi", "path": "/a"}},
    "gitSync": {"a": {"source": "u", "password": "p"}},
    "environment": {"B": "2", "A": "1"},
    "labels": {"b": "2", "a": "1"},
    "username": "ann",
}
SITUATIONS = [
    submission(kind, FULL, backend=backend, job_type=job_type, apis=apis)
    for kind in K
    for backend in Backend
    for job_type in (("MPI", "PyTorch", "TF", "XGBoost") if kind is K.DISTRIBUTED else ("",))
    for apis in (frozenset[str](), frozenset({"kubeflow.org/PyTorchJob", "serving.knative.dev/Service"}))
]


def test_the_seeds_jupyter_job_is_exactly_these_objects() -> None:
    """Seed 001 and behaviour.md 12.12."""
    found = Rendered(
        render(
            submission(
                K.INTERACTIVE,
                {"jupyter": True, "namePrefix": "jupyter", "gpu": "1", "image": ""},
                job="jupyter-1",
                base_name="jupyter",
                base_index=1,
            )
        )
    )
    assert found.names == ["ConfigMap jupyter-1", "Service jupyter-1-jupyter", "RunaiJob jupyter-1"]
    labels = found.one("ConfigMap")["metadata"]["labels"]
    assert (labels["base-name"], labels["base-name-index"]) == ("jupyter", "1")


def test_the_config_map_remembers_values_and_objects() -> None:
    found = rendered(gpu="1", ports={"web": {"container": 80}})
    data = found.one("ConfigMap")["data"]
    assert json.loads(data["values"]) == {"gpu": "1", "image": "busybox", "ports": {"web": {"container": 80}}}
    assert data["app"] == "v1 Service j-web\nrun.ai/v1 RunaiJob j\n"
    assert "base-name" not in found.one("ConfigMap")["metadata"]["labels"]


@pytest.mark.parametrize(
    "given", SITUATIONS, ids=lambda one: f"{one.kind}-{one.backend}-{one.job_type}-{len(one.apis)}"
)
def test_every_object_is_the_workloads(given: Submission) -> None:
    objects = render(given)
    for one in objects:
        metadata = one["metadata"]
        assert metadata["namespace"] == "runai-team-a"
        assert metadata["labels"]["release"] == "j"
        assert metadata["annotations"]["user"] == "ann"
        assert metadata["ownerReferences"] == [
            {
                "apiVersion": "run.ai/v2alpha1",
                "kind": given.kind.workload,
                "name": "my-workload",
                "uid": "0a1b",
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ]
    keys = [(one["kind"], one["apiVersion"], one["metadata"]["name"]) for one in objects]
    assert len(set(keys)) == len(keys)
    assert (objects[0]["kind"], objects[0]["metadata"]["name"]) == ("ConfigMap", "j")
    assert objects[-1]["metadata"]["name"] == "j"


@pytest.mark.parametrize(
    "given", SITUATIONS, ids=lambda one: f"{one.kind}-{one.backend}-{one.job_type}-{len(one.apis)}"
)
def test_the_same_submission_gives_the_same_bytes_and_is_left_as_it_was(given: Submission) -> None:
    before = copy.deepcopy(given.values)
    turned = copy.deepcopy(given)
    turned.values.clear()
    for name in reversed(before):
        value = before[name]
        turned.values[name] = dict(reversed(value.items())) if isinstance(value, dict) else value
    assert json.dumps(render(given)) == json.dumps(render(given)) == json.dumps(render(turned))
    assert given.values == before


@pytest.mark.parametrize(
    "given", SITUATIONS, ids=lambda one: f"{one.kind}-{one.backend}-{one.job_type}-{len(one.apis)}"
)
def test_nothing_empty_is_written(given: Submission) -> None:
    def empties(value: Any, at: str) -> list[str]:
        if isinstance(value, dict):
            if not value and not at.endswith(".emptyDir"):
                return [at]
            return [found for key, one in value.items() for found in empties(one, f"{at}.{key}")]
        if isinstance(value, list):
            return [found for one in value for found in empties(one, f"{at}[]")] if value else [at]
        return [at] if value is None or value == "" else []

    assert empties(render(given), "") == []
