"""The rows "Resources" of the table of parameters (behaviour.md 2.3), and gpu, gpuMemory of 12.7."""

from __future__ import annotations

from typing import Any

import pytest

from extender.wire import pods
from tests.submissions import rendered

Json = dict[str, Any]


@pytest.mark.parametrize(
    ("values", "annotations", "limits"),
    [
        ({}, {}, {}),
        ({"gpu": "1"}, {}, {"nvidia.com/gpu": "1"}),
        ({"gpu": 1}, {}, {"nvidia.com/gpu": "1"}),
        ({"gpu": "2.0"}, {}, {"nvidia.com/gpu": "2"}),
        ({"gpu": "0.5"}, {"gpu-fraction": "0.5"}, {}),
        ({"gpu": "0.250"}, {"gpu-fraction": "0.25"}, {}),
        ({"gpu": "0"}, {}, {}),
        ({"gpuMemory": "1Gi"}, {"gpu-memory": "1024"}, {}),
        ({"gpuMemory": "1G"}, {"gpu-memory": "953"}, {}),
        ({"gpuMemory": "100M"}, {"gpu-memory": "95"}, {}),
        ({"gpuMemory": "4000Mi"}, {"gpu-memory": "4000"}, {}),
        ({"migProfile": "1g.5gb"}, {}, {"nvidia.com/mig-1g.5gb": "1"}),
        ({"gpu": "0.5", "gpuLimit": "1.0"}, {"gpu-fraction": "0.5", "gpu-fraction-limit": "1"}, {}),
        ({"elastic": True}, {"elastic": "true"}, {}),
    ],
)
def test_gpus_are_what_the_scheduler_reads(values: Json, annotations: Json, limits: Json) -> None:
    found = rendered(**values)
    assert found.annotations == annotations
    assert found.container.get("resources", {}).get("limits", {}) == limits
    assert pods.gpu_error(found.template) == ""
    assert pods.shares_gpu(found.template) == ("gpu-fraction" in annotations or "gpu-memory" in annotations)


def test_cpu_and_memory() -> None:
    found = rendered(cpu="0.5", cpuLimit=2, memory="1G", memoryLimit="2Gi").container["resources"]
    assert found == {"requests": {"cpu": "0.5", "memory": "1G"}, "limits": {"cpu": "2", "memory": "2Gi"}}


def test_extended_resources_are_request_and_limit() -> None:
    found = rendered(extendedResources={"a": {"resource": "rdma/hca", "quantity": 1}, "x.org/y": {"quantity": "2"}})
    amounts = {"rdma/hca": "1", "x.org/y": "2"}
    assert found.container["resources"] == {"requests": amounts, "limits": amounts}


def test_large_shm() -> None:
    found = rendered(largeShm=True)
    assert found.pod["volumes"] == [{"name": "dshm", "emptyDir": {"medium": "Memory"}}]
    assert found.container["volumeMounts"] == [{"name": "dshm", "mountPath": "/dev/shm"}]
