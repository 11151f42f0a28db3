"""Small files and workloads to simulate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from extender.model.gpu import GpuRequest
from extender.model.names import NodeName
from extender.model.node import Node
from extender.simulate import workload
from extender.simulate.workload import ANY, Accepts, Host, Task, Workload

NODE_HEADER = "sn,cpu_milli,memory_mib,gpu,model"
POD_HEADER = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec"


def csv(path: Path, header: str, *lines: str) -> Path:
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def nodes_csv(folder: Path, *lines: str) -> Path:
    return csv(folder / "nodes.csv", NODE_HEADER, *lines)


def pods_csv(folder: Path, *lines: str) -> Path:
    return csv(folder / "pods.csv", POD_HEADER, *lines)


def host(
    name: str, *, gpus: int = 2, model: str = "", cpu: int = 64_000, memory: int = 1 << 20, pods: int = 110
) -> Host:
    return Host(
        Node(
            NodeName(name),
            name,
            gpus=gpus,
            gpu_slots=gpus,
            gpu_product=model,
            cpu_milli=cpu,
            memory_mib=memory,
            pods=pods,
        )
    )


def task(
    name: str, devices: int = 1, milli: int = 1000, *, cpu: int = 0, memory: int = 0, accepts: Accepts = ANY
) -> Task:
    gpu = GpuRequest(devices, share_milli=milli if milli < 1000 else 0) if devices else GpuRequest()
    return Task(name, gpu, cpu, memory, accepts)


def work(hosts: Sequence[Host], tasks: Sequence[Task]) -> Workload:
    return workload.build(hosts, tasks)
