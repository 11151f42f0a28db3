"""The quota tree of one node pool: projects under departments, what each holds and asks for, and its fair share.

Counting is incremental: what is charged to a project is added on the path to the root, so a what-if plan applies and
undoes a placement for a few integer additions. Fair shares follow from what is requested, not from what is allocated;
they are divided again, level by level, the first time they are needed after a request or the total changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction

from extender.errors import InvariantError
from extender.fairshare.capacity import Usage
from extender.fairshare.division import DEFAULT_K, NO_USAGE, Claim, divide
from extender.model.amounts import GPU, Amounts
from extender.model.names import ProjectName
from extender.model.queue import Queue, Quota

UNBOUNDED = 1 << 62  # stands for "unlimited" where integers are compared: above every amount and every sum of them
RESOURCES = range(3)  # GPU, CPU, memory: the order of `Amounts`
UNITS = (GPU, 1, 1)  # surplus GPUs are given whole

Triple = tuple[int, int, int]


def triple(amounts: Amounts) -> Triple:
    return (amounts.gpu_milli, amounts.cpu_milli, amounts.memory_mib)


def bounds(quota: Quota) -> Triple:
    """`quota` as integers that compare: UNBOUNDED where it is unlimited."""
    gpu, cpu, memory = quota.gpu_milli, quota.cpu_milli, quota.memory_mib
    return (
        UNBOUNDED if gpu is None else gpu,
        UNBOUNDED if cpu is None else cpu,
        UNBOUNDED if memory is None else memory,
    )


class Standing:
    """One queue's place in the tree. Lists hold milli-GPU, milli-CPU, MiB; only `QuotaTree` changes them."""

    __slots__ = (
        "allocatable",
        "allocated",
        "children",
        "depth",
        "deserved",
        "fair",
        "limit",
        "non_preemptible",
        "parent",
        "queue",
        "quota",
        "requested",
        "seniority",
        "usage",
        "weights",
    )

    def __init__(self, queue: Queue, parent: Standing | None, *, usage: tuple[Fraction, Fraction, Fraction]) -> None:
        self.queue = queue
        self.parent = parent
        self.children: list[Standing] = []  # by seniority
        self.depth: int = 0 if parent is None else parent.depth + 1
        self.seniority = (queue.created, queue.name)
        self.quota = bounds(queue.deserved)  # as stated: what binds the non-preemptible
        # What is guaranteed. Differs from `quota` for a department without a figure: its projects' figures count.
        self.deserved = self.quota
        self.limit = bounds(queue.limit)
        self.weights = (queue.weights.gpu, queue.weights.cpu, queue.weights.memory)
        self.usage = usage
        self.allocated = [0, 0, 0]
        self.non_preemptible = [0, 0, 0]
        self.requested = [0, 0, 0]
        self.fair = [0, 0, 0]
        self.allocatable = [0, 0, 0]  # max(deserved, fair share) capped by the limit

    def path(self) -> Iterator[Standing]:
        """The queue and those above it, without the root, which is nobody's queue."""
        standing = self
        while standing.parent is not None:
            yield standing
            standing = standing.parent

    def held(self) -> Usage:
        return Usage(Amounts(*self.allocated), Amounts(*self.non_preemptible))

    def usages(self) -> list[tuple[Queue, Usage]]:
        """What `capacity.check` takes, which tells in words why something is refused."""
        return [(standing.queue, standing.held()) for standing in self.path()]

    def admits(self, request: Amounts, *, preemptible: bool) -> bool:
        """Whether `capacity.check` has nothing against it: the same rule on bare integers, for inner loops."""
        asked = triple(request)
        for standing in self.path():
            for resource in RESOURCES:
                more = asked[resource]
                if more > 0 and (
                    standing.allocated[resource] + more > standing.limit[resource]
                    or (not preemptible and standing.non_preemptible[resource] + more > standing.quota[resource])
                ):
                    return False
        return True

    def __repr__(self) -> str:
        return f"Standing({self.queue.name!r}, allocated={self.allocated}, fair={self.fair})"


class QuotaTree:
    """Departments and projects of one node pool. Shares are valid after `refresh`; `Turns` and `Trade` call it."""

    def __init__(
        self,
        total: Amounts,
        projects: Iterable[Queue],
        departments: Iterable[Queue] = (),
        *,
        usage: Mapping[str, tuple[Fraction, Fraction, Fraction]] | None = None,
        k: Fraction = DEFAULT_K,
    ) -> None:
        """total: what the pool's ready nodes can give to our pods.

        A project whose department is not among `departments` stands directly under the root; so does such a department.
        usage: past use by queue name, each resource as a part of the pool. Raises InvariantError for departments that
        stand above each other in a circle.
        """
        self._usage = usage or {}
        self._k = k
        self._total = triple(total)
        self._stale = True
        self.root = self._standing(Queue(""), None)
        self.departments: dict[str, Standing] = {}
        self._add_departments({department.name: department for department in departments})
        self.projects: dict[ProjectName, Standing] = {}
        for project in projects:
            above = self.departments.get(project.department, self.root)
            self.projects[ProjectName(project.name)] = self._standing(project, above)
        self._settle(self.root)

    @property
    def total(self) -> Amounts:
        return Amounts(*self._total)

    @total.setter
    def total(self, total: Amounts) -> None:
        self._total = triple(total)
        self._stale = True

    def request(self, project: Standing, amounts: Amounts) -> None:
        """A job of the project asks for this, whether it runs already or waits."""
        self._count(project, amounts, 1)

    def withdraw(self, project: Standing, amounts: Amounts) -> None:
        """The job is gone: the opposite of `request`."""
        self._count(project, amounts, -1)

    def allocate(self, project: Standing, amounts: Amounts, *, preemptible: bool) -> None:
        """Part of what was requested is now held. Cost: O(depth); fair shares stay."""
        gpu, cpu, memory = amounts.gpu_milli, amounts.cpu_milli, amounts.memory_mib
        standing: Standing | None = project
        while standing is not None:
            held = standing.allocated
            held[0] += gpu
            held[1] += cpu
            held[2] += memory
            if not preemptible:
                held = standing.non_preemptible
                held[0] += gpu
                held[1] += cpu
                held[2] += memory
            standing = standing.parent

    def release(self, project: Standing, amounts: Amounts, *, preemptible: bool) -> None:
        """The exact opposite of `allocate`, for pods that end and for plans that are undone."""
        opposite = Amounts(-amounts.gpu_milli, -amounts.cpu_milli, -amounts.memory_mib)
        self.allocate(project, opposite, preemptible=preemptible)

    def refresh(self) -> None:
        """Make the fair shares follow the requests. Cost: nothing when nothing changed, else O(queues x rounds)."""
        if not self._stale:
            return
        self._stale = False
        wanted: dict[int, list[int]] = {}
        self._sum_up(self.root, wanted)
        self.root.fair = list(self._total)
        self._share_out(self.root, wanted)

    def take_shares(self, shares: Mapping[str, Amounts]) -> None:
        """Use these fair shares until a request or the total changes: to judge a state that was recorded."""
        self.refresh()
        for standing in (*self.departments.values(), *self.projects.values()):
            share = shares.get(standing.queue.name)
            if share is not None:
                _set_fair(standing, list(triple(share)))

    def _count(self, project: Standing, amounts: Amounts, sign: int) -> None:
        asked = triple(amounts)
        standing: Standing | None = project
        while standing is not None:
            for resource in RESOURCES:
                standing.requested[resource] += sign * asked[resource]
            standing = standing.parent
        self._stale = True

    def _standing(self, queue: Queue, parent: Standing | None) -> Standing:
        standing = Standing(queue, parent, usage=self._usage.get(queue.name, (NO_USAGE,) * 3))
        if parent is not None:
            parent.children.append(standing)
        return standing

    def _add_departments(self, waiting: dict[str, Queue]) -> None:
        while waiting:
            ready = [queue for queue in waiting.values() if queue.department not in waiting]
            if not ready:
                raise InvariantError(f"departments above each other in a circle: {', '.join(sorted(waiting))}")
            for queue in ready:
                del waiting[queue.name]
                above = self.departments.get(queue.department, self.root)
                self.departments[queue.name] = self._standing(queue, above)

    def _settle(self, standing: Standing) -> None:
        """Children by seniority; an inner queue without a figure of its own guarantees what its children do."""
        standing.children.sort(key=lambda child: child.seniority)
        if not standing.children:
            return
        for child in standing.children:
            self._settle(child)
        gpu, cpu, memory = (
            quota if quota < UNBOUNDED else min(UNBOUNDED, sum(child.deserved[resource] for child in standing.children))
            for resource, quota in enumerate(standing.quota)
        )
        standing.deserved = (gpu, cpu, memory)

    def _sum_up(self, standing: Standing, wanted: dict[int, list[int]]) -> list[int]:
        """What each queue can use at most: a department no more than its projects may have together."""
        if standing.children:
            below = [self._sum_up(child, wanted) for child in standing.children]
            sums = [sum(child[resource] for child in below) for resource in RESOURCES]
        else:
            sums = list(standing.requested)
        wanted[id(standing)] = usable = [min(sums[resource], standing.limit[resource]) for resource in RESOURCES]
        return usable

    def _share_out(self, standing: Standing, wanted: dict[int, list[int]]) -> None:
        children = standing.children
        by_resource = [
            divide(
                standing.fair[resource],
                [
                    Claim(
                        requested=wanted[id(child)][resource],
                        deserved=None if child.deserved[resource] >= UNBOUNDED else child.deserved[resource],
                        weight=child.weights[resource],
                        priority=child.queue.priority,
                        usage=child.usage[resource],
                    )
                    for child in children
                ],
                unit=UNITS[resource],
                k=self._k,
            )
            for resource in RESOURCES
        ]
        for child, gpu, cpu, memory in zip(children, *by_resource, strict=True):
            _set_fair(child, [gpu, cpu, memory])
            if child.children:
                self._share_out(child, wanted)


def _set_fair(standing: Standing, fair: list[int]) -> None:
    standing.fair = fair
    standing.allocatable = [
        min(max(standing.deserved[resource], fair[resource]), standing.limit[resource]) for resource in RESOURCES
    ]
