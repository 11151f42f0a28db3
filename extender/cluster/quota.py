"""What every project and department holds now. Counted up and down with each placed pod, exact integers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from extender.fairshare.capacity import Usage
from extender.model.amounts import NOTHING, Amounts
from extender.model.names import ProjectName
from extender.model.queue import Queue


@dataclass(frozen=True, slots=True)
class Charge:
    """What one placed pod costs: remembered with the pod, so that it is given back exactly."""

    project: ProjectName
    amounts: Amounts
    preemptible: bool


class QuotaBook:
    """Projects, departments and their usage. A project that was deleted keeps its usage until its pods end."""

    def __init__(self) -> None:
        self.projects: dict[ProjectName, Queue] = {}
        self.departments: dict[str, Queue] = {}
        self._usage: dict[ProjectName, Usage] = {}
        self._departed: dict[ProjectName, str] = {}  # deleted projects whose pods still run → their department

    def replace_projects(self, projects: Iterable[Queue]) -> None:
        """The projects are exactly these."""
        listed = {ProjectName(project.name): project for project in projects}
        for name in self.projects.keys() - listed.keys():
            self.delete_project(name)
        self.projects = listed
        self._departed = {name: above for name, above in self._departed.items() if name not in listed}

    def upsert_project(self, project: Queue) -> None:
        self.projects[ProjectName(project.name)] = project
        self._departed.pop(ProjectName(project.name), None)

    def delete_project(self, name: ProjectName) -> None:
        """Its pods stay charged to its name, and to its department, until they end."""
        project = self.projects.pop(name, None)
        if project is not None and name in self._usage:
            self._departed[name] = project.department

    def charge(self, charge: Charge) -> None:
        self._add(charge, charge.amounts)

    def refund(self, charge: Charge) -> None:
        self._add(charge, NOTHING - charge.amounts)

    def usage(self, project: ProjectName) -> Usage:
        return self._usage.get(project, Usage())

    def department_usage(self, department: str) -> Usage:
        """Sum over the department's projects. Cost: O(projects); departments have tens of them."""
        allocated = non_preemptible = NOTHING
        members = {name: project.department for name, project in self.projects.items()} | self._departed
        for name, above in members.items():
            if above == department:
                usage = self.usage(name)
                allocated += usage.allocated
                non_preemptible += usage.non_preemptible
        return Usage(allocated, non_preemptible)

    def path(self, project: ProjectName) -> list[tuple[Queue, Usage]]:
        """The project and the department above it, with what each holds. A department nobody made has no limits."""
        queue = self.projects[project]
        path = [(queue, self.usage(project))]
        department = self.departments.get(queue.department)
        if department is not None:
            path.append((department, self.department_usage(department.name)))
        return path

    def holders(self) -> Iterator[tuple[ProjectName, Usage]]:
        """Every project that exists or still holds something, by name."""
        for name in sorted(self.projects.keys() | self._usage.keys()):
            yield name, self.usage(name)

    def _add(self, charge: Charge, amounts: Amounts) -> None:
        before = self.usage(charge.project)
        after = Usage(
            before.allocated + amounts,
            before.non_preemptible if charge.preemptible else before.non_preemptible + amounts,
        )
        if after == Usage():
            self._usage.pop(charge.project, None)
            self._departed.pop(charge.project, None)
        else:
            self._usage[charge.project] = after
