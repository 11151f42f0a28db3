"""What a Project and a Department have in common: figures for each node pool, and their place among their siblings.

Quota arithmetic is exact: the numbers of the object become integers in `QueueSpec.queues`, and nothing after that
sees a float.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from extender.model import durations
from extender.model.names import DEFAULT_POOL
from extender.model.queue import Queue, Quota, Weights
from extender.wire.resources.parts import (
    UNLIMITED,
    Count,
    Duration,
    Limit,
    MemoryLimit,
    Metadata,
    Part,
    Priority,
    Weight,
    mib_or_unlimited,
    milli,
    milli_or_unlimited,
    unique_by,
)

DEFAULT_WEIGHT = 2
DEFAULT_PRIORITY = 100


class PoolGpu(Part):
    """What a queue may have of the GPUs of one node pool."""

    deserved: Count | None = Field(
        None,
        description=(
            "The number of GPUs of this pool that are guaranteed, up to three decimals. When it is absent, "
            "spec.deservedGpus applies to the pool `default`, and a project is guaranteed none in other pools."
        ),
    )
    max_allowed: Limit | None = Field(
        None,
        description=(
            "The most GPUs of this pool that pods may hold at one time. -1 means unlimited; with 0 no pod that "
            "asks for a GPU starts. When it is absent, spec.maxAllowedGpus applies to the pool `default`; "
            "other pools then have no limit, unless the one of the pool `default` is not above its quota: then "
            "the quota is the limit in other pools too."
        ),
    )
    over_quota_weight: Weight | None = Field(
        None,
        description=(
            "The share of GPUs of this pool that nobody is guaranteed, relative to the weights of siblings; 0 "
            "means no share. When it is absent, spec.gpuOverQuotaWeight applies."
        ),
    )


class PoolCpu(Part):
    """What a queue may have of the CPU cores of one node pool."""

    deserved: Limit = Field(
        UNLIMITED,
        description=(
            "The number of CPU cores of this pool that are guaranteed, up to three decimals. Non-preemptible "
            "workloads never request more in total. -1, the default, means that there is no CPU quota to keep "
            "to; with 0 only preemptible pods may request CPU."
        ),
    )
    max_allowed: Limit = Field(
        UNLIMITED,
        description=(
            "The most CPU cores of this pool that pods may request at one time. -1, the default, means "
            "unlimited; with 0 no pod that requests CPU starts."
        ),
    )
    over_quota_weight: Weight | None = Field(
        None,
        description=(
            "The share of CPU that nobody is guaranteed, relative to the weights of siblings; 0 means no share. "
            "When it is absent, spec.gpuOverQuotaWeight applies."
        ),
    )


class PoolMemory(Part):
    """What a queue may have of the main memory of one node pool."""

    deserved: MemoryLimit = Field(
        UNLIMITED,
        description=(
            "The main memory of this pool that is guaranteed, in MiB (2^20 bytes). Non-preemptible workloads "
            "never request more in total. -1, the default, means that there is no memory quota to keep to; "
            "with 0 only preemptible pods may request memory."
        ),
    )
    max_allowed: MemoryLimit = Field(
        UNLIMITED,
        description=(
            "The most main memory of this pool, in MiB (2^20 bytes), that pods may request at one time. -1, the "
            "default, means unlimited; with 0 no pod that requests memory starts."
        ),
    )
    over_quota_weight: Weight | None = Field(
        None,
        description=(
            "The share of memory that nobody is guaranteed, relative to the weights of siblings; 0 means no "
            "share. When it is absent, spec.gpuOverQuotaWeight applies."
        ),
    )


class NodePoolResources(Part):
    """The quota and limit in one node pool."""

    pool: str = Field(
        min_length=1,
        max_length=63,
        description=(
            "The name of the node pool that the figures are for: the value of the node label "
            "kai.scheduler/node-pool, unless the scheduler's setting `pools.label` names another label. Nodes "
            "without it are the pool `default`."
        ),
    )
    gpu: PoolGpu = Field(
        default_factory=PoolGpu,
        description="What is granted of the pool's GPUs. The figures are in GPUs.",
    )
    cpu: PoolCpu = Field(
        default_factory=PoolCpu,
        description=(
            "What is granted of the pool's CPU. The figures are in cores. When it is absent, CPU is not limited."
        ),
    )
    memory: PoolMemory = Field(
        default_factory=PoolMemory,
        description=(
            "What is granted of the pool's main memory. The figures are in MiB (2^20 bytes). When it is absent, "
            "memory is not limited."
        ),
    )


Pools = Annotated[list[NodePoolResources], Field(max_length=64), *unique_by("pool", "pool")]


class QueueSpec(Part):
    """What an administrator grants a queue, whichever it is. Subclasses describe the first two fields."""

    deserved_gpus: Count | None = None
    max_allowed_gpus: Limit = UNLIMITED
    gpu_over_quota_weight: Weight = Field(
        DEFAULT_WEIGHT,
        description=(
            "The weight decides the share of GPUs that nobody is guaranteed, relative to siblings (the projects "
            "of one department, or the departments): 1 is low, 2, the default, medium, 3 high, and with 0 there "
            "is no share beyond the quota."
        ),
    )
    priority: Priority = Field(
        DEFAULT_PRIORITY,
        description=(
            "Among siblings, those with the higher priority take from what nobody is guaranteed first; the "
            "default is 100. Quotas are not touched by it."
        ),
    )
    node_pools_resources: Pools = Field(
        default_factory=list,
        description=(
            "Quota, limit and weight by node pool, where each pool is named once. The entry of the pool "
            "`default` replaces deservedGpus, maxAllowedGpus and gpuOverQuotaWeight there. Entries are the "
            "place for CPU and memory quotas."
        ),
    )
    preempt_min_runtime: Duration | None = Field(
        None,
        description=(
            "For this long after its start a workload is not preempted by workloads of higher priority in the "
            'same project, for example "30s" or "1h". When it is absent, what is above (the department) decides; '
            "without any, workloads are not protected."
        ),
    )
    reclaim_min_runtime: Duration | None = Field(
        None,
        description=(
            "For this long after its start a workload is not reclaimed by other projects, for example "
            '"30s" or "1h". When it is absent, what is above (the department) decides; without any, workloads '
            "are not protected."
        ),
    )

    @property
    def deserved_gpu_milli(self) -> int | None:
        """Guaranteed GPUs in thousandths, the pool `default` taken into account; None without a figure."""
        entry = self._entry(DEFAULT_POOL).gpu.deserved
        figure = self.deserved_gpus if entry is None else entry
        return None if figure is None else milli(figure)

    @property
    def max_gpu_milli(self) -> int | None:
        """The GPU limit in thousandths, the pool `default` taken into account; None for unlimited."""
        limit = self._entry(DEFAULT_POOL).gpu.max_allowed
        return milli_or_unlimited(self.max_allowed_gpus if limit is None else limit)

    def queues(self, metadata: Metadata, above: str) -> tuple[Queue, dict[str, Queue]]:
        """The queue in the pool `default`, and those in other pools that have an entry; `above` is their parent."""
        by_pool = {
            pool: Queue(
                metadata.name,
                self._deserved(pool),
                self._limit(pool),
                department=above,
                weights=self._weights(pool),
                priority=self.priority,
                created=metadata.created,
                preempt_min_runtime_s=_seconds(self.preempt_min_runtime),
                reclaim_min_runtime_s=_seconds(self.reclaim_min_runtime),
            )
            for pool in [DEFAULT_POOL, *(entry.pool for entry in self.node_pools_resources)]
        }
        return by_pool.pop(DEFAULT_POOL), by_pool

    def _deserved(self, pool: str) -> Quota:
        entry = self._entry(pool)
        if pool == DEFAULT_POOL:
            gpu = self.deserved_gpu_milli
        elif entry.gpu.deserved is not None:
            gpu = milli(entry.gpu.deserved)
        else:
            gpu = None if self.deserved_gpus is None else 0
        return Quota(gpu, milli_or_unlimited(entry.cpu.deserved), mib_or_unlimited(entry.memory.deserved))

    def _limit(self, pool: str) -> Quota:
        entry = self._entry(pool)
        if pool == DEFAULT_POOL:
            gpu = self.max_gpu_milli
        elif entry.gpu.max_allowed is not None:
            gpu = milli_or_unlimited(entry.gpu.max_allowed)
        else:
            quota, limit = self.deserved_gpu_milli, self.max_gpu_milli
            walled = quota is not None and limit is not None and limit <= quota
            gpu = self._deserved(pool).gpu_milli if walled else None
        return Quota(gpu, milli_or_unlimited(entry.cpu.max_allowed), mib_or_unlimited(entry.memory.max_allowed))

    def _weights(self, pool: str) -> Weights:
        entry = self._entry(pool)
        gpu, cpu, memory = (
            self.gpu_over_quota_weight if given is None else given
            for given in (entry.gpu.over_quota_weight, entry.cpu.over_quota_weight, entry.memory.over_quota_weight)
        )
        return Weights(gpu, cpu, memory)

    def _entry(self, pool: str) -> NodePoolResources:
        """The entry of the pool, or one that says nothing."""
        return next((one for one in self.node_pools_resources if one.pool == pool), NodePoolResources(pool=pool))


def _seconds(duration: str | None) -> float | None:
    return None if duration is None else durations.seconds(duration)
