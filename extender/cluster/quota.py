"""What every project and department holds now in each node pool. Counted with each placed pod, exact integers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from extender.fairshare.capacity import Usage
from extender.fairshare.tree import QuotaTree
from extender.model.amounts import NOTHING, Amounts
from extender.model.names import DEFAULT_POOL, ProjectName
from extender.model.queue import Department, Project, Queue, Quota, Weights

_NOTHING_HELD = Usage()


@dataclass(frozen=True, slots=True)
class Charge:
    """What one placed pod costs: remembered with the pod, so that it is given back exactly."""

    project: ProjectName
    amounts: Amounts
    preemptible: bool
    pool: str = DEFAULT_POOL


class QuotaBook:
    """Projects, departments and their usage. A project that was deleted keeps its usage until its pods end.

    Departments that stand above each other in a circle, which nothing prevents on the API server, stand at the top.
    """

    def __init__(self) -> None:
        self.projects: dict[ProjectName, Project] = {}
        self.departments: dict[str, Department] = {}  # as they were given
        self._above: dict[str, str] = {}  # department → the one above it, without circles; "" for none
        self._usage: dict[tuple[str, ProjectName], Usage] = {}
        self._departed: dict[ProjectName, str] = {}  # deleted projects whose pods still run → their department
        self._sums: dict[tuple[str, str], Usage] | None = {}  # (pool, department) → usage; None: to be summed anew

    def replace_projects(self, projects: Iterable[Project]) -> None:
        """The projects are exactly these."""
        listed = {ProjectName(project.name): project for project in projects}
        for name in self.projects.keys() - listed.keys():
            self.delete_project(name)
        self.projects = listed
        self._departed = {name: above for name, above in self._departed.items() if name not in listed}
        self._sums = None

    def upsert_project(self, project: Project) -> None:
        name = ProjectName(project.name)
        self.projects[name] = project
        self._departed.pop(name, None)
        self._sums = None

    def delete_project(self, name: ProjectName) -> None:
        """Its pods stay charged to its name, and to its department, until they end."""
        project = self.projects.pop(name, None)
        if project is not None and self._holds(name):
            self._departed[name] = project.department
        self._sums = None

    def replace_departments(self, departments: Iterable[Department]) -> None:
        """The departments are exactly these."""
        self.departments = {department.name: department for department in departments}
        self._above = {name: self._parent(name) for name in self.departments}
        self._sums = None

    def upsert_department(self, department: Department) -> None:
        self.replace_departments([*self.departments.values(), department])

    def delete_department(self, name: str) -> None:
        self.replace_departments(one for one in self.departments.values() if one.name != name)

    def charge(self, charge: Charge) -> None:
        self._add(charge, charge.amounts)

    def refund(self, charge: Charge) -> None:
        self._add(charge, NOTHING - charge.amounts)

    def usage(self, project: ProjectName, pool: str | None = None) -> Usage:
        """What the project holds in one pool, by default in all of them."""
        if pool is not None:
            return self._usage.get((pool, project), _NOTHING_HELD)
        return _total(usage for (_, name), usage in self._usage.items() if name == project)

    def department_usage(self, department: str, pool: str | None = None) -> Usage:
        """What its projects, and those of the departments below it, hold in one pool, by default in all of them."""
        sums = self._summed()
        if pool is not None:
            return sums.get((pool, department), _NOTHING_HELD)
        return _total(usage for (_, name), usage in sums.items() if name == department)

    def path(self, project: ProjectName, pool: str = DEFAULT_POOL) -> list[tuple[Queue, Usage]]:
        """The project and the departments above it in one pool, with what each holds there.

        A department nobody made has no limits. Raises KeyError for a project that does not exist.
        """
        given = self.projects[project]
        return [
            (given.queue_in(pool), self.usage(project, pool)),
            *(
                (self.departments[name].queue_in(pool), self.department_usage(name, pool))
                for name in self._ancestors(given.department)
            ),
        ]

    def holders(self) -> Iterator[tuple[ProjectName, Usage]]:
        """Every project that exists or still holds something, by name, with what it holds in all pools."""
        held: dict[ProjectName, Usage] = dict.fromkeys(self.projects, _NOTHING_HELD)
        for (_, name), usage in self._usage.items():
            held[name] = _total((held.get(name, _NOTHING_HELD), usage))
        yield from sorted(held.items())

    def by_pool(self) -> Mapping[tuple[str, ProjectName], Usage]:
        """What is held, by pool and project; nothing that is not held. Borrowed: read it, do not keep it."""
        return self._usage

    def quota_tree(self, pool: str, total: Amounts) -> QuotaTree:
        """The quota tree of one pool, where what is held now is both requested and allocated.

        total: what the pool's ready nodes can give to our pods. Who holds something without being a project (deleted,
        or never made) has a place too, with no quota and no part in the surplus. The caller adds what waits
        (`QuotaTree.request`) and takes out what is on its way out, and may change the tree as it likes.
        Cost: O(projects + departments).
        """
        queues = {name: project.queue_in(pool) for name, project in self.projects.items()}
        for held_in, name in self._usage:
            if held_in == pool and name not in queues:
                queues[name] = Queue(
                    name, Quota(0, 0, 0), department=self._departed.get(name, ""), weights=Weights(0, 0, 0)
                )
        departments = [
            replace(department.queue_in(pool), department=self._above[name])
            for name, department in self.departments.items()
        ]
        tree = QuotaTree(total, queues.values(), departments)
        for name, standing in tree.projects.items():
            usage = self._usage.get((pool, name))
            if usage is not None:
                tree.request(standing, usage.allocated)
                tree.allocate(standing, usage.allocated - usage.non_preemptible, preemptible=True)
                tree.allocate(standing, usage.non_preemptible, preemptible=False)
        return tree

    def _holds(self, project: ProjectName) -> bool:
        return any(name == project for _, name in self._usage)

    def _add(self, charge: Charge, amounts: Amounts) -> None:
        key = (charge.pool, charge.project)
        after = _plus(self._usage.get(key, _NOTHING_HELD), amounts, charge.preemptible)
        if after != _NOTHING_HELD:
            self._usage[key] = after
        else:
            self._usage.pop(key, None)
        if self._sums is not None:
            for name in self._ancestors(self._department_of(charge.project)):
                held = self._sums.get((charge.pool, name), _NOTHING_HELD)
                self._sums[(charge.pool, name)] = _plus(held, amounts, charge.preemptible)
        if charge.project in self._departed and not self._holds(charge.project):
            del self._departed[charge.project]

    def _department_of(self, project: ProjectName) -> str:
        given = self.projects.get(project)
        return given.department if given is not None else self._departed.get(project, "")

    def _ancestors(self, department: str) -> Iterator[str]:
        """The department and those above it, as far as they exist."""
        while department in self._above:
            yield department
            department = self._above[department]

    def _parent(self, department: str) -> str:
        """The department above, "" when going up from it comes back to it."""
        parent = above = self.departments[department].parent
        for _ in self.departments:
            if above == department:
                return ""
            if above not in self.departments:
                break
            above = self.departments[above].parent
        return parent

    def _summed(self) -> dict[tuple[str, str], Usage]:
        if self._sums is None:
            sums: dict[tuple[str, str], Usage] = {}
            for (pool, project), usage in self._usage.items():
                for name in self._ancestors(self._department_of(project)):
                    sums[(pool, name)] = _total((sums.get((pool, name), _NOTHING_HELD), usage))
            self._sums = sums
        return self._sums


def _plus(usage: Usage, amounts: Amounts, preemptible: bool) -> Usage:
    non_preemptible = usage.non_preemptible
    return Usage(usage.allocated + amounts, non_preemptible if preemptible else non_preemptible + amounts)


def _total(usages: Iterable[Usage]) -> Usage:
    allocated = non_preemptible = NOTHING
    for usage in usages:
        allocated += usage.allocated
        non_preemptible += usage.non_preemptible
    return Usage(allocated, non_preemptible)
