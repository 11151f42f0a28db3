"""A gang: the pods that start together or not at all, with the parts it is made of and where its pods are now.

A pod without a PodGroup is a gang of one. What is pending, active or on its way out is counted once, when the gang
is made; a gang whose pods changed is made anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from extender.model import names
from extender.model.amounts import NOTHING, Amounts
from extender.model.names import ProjectName
from extender.model.pod import Placement, Pod


class MemberState(StrEnum):
    """What a member holds.

    PENDING nothing; NOMINATED capacity that others are giving back; ACTIVE its node (bound, starting or running);
    RELEASING its node, until it has ended; STUCK the same, and nobody can say for how long; DONE nothing any more.
    """

    PENDING = "pending"
    NOMINATED = "nominated"
    ACTIVE = "active"
    RELEASING = "releasing"
    STUCK = "stuck"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Member:
    """One pod of a gang. `order`: larger is placed first and evicted last; None comes after every number."""

    pod: Pod
    state: MemberState = MemberState.PENDING
    placement: Placement | None = None
    subgroup: str = ""
    order: int | None = None

    @property
    def turn(self) -> tuple[bool, int, str, str]:
        """Sort key: who of the gang is placed first. Reversed, it is who leaves first."""
        return (self.order is None, -(self.order or 0), self.pod.created, self.pod.uid)


@dataclass(frozen=True, slots=True)
class Topology:
    """Members stay inside one domain of level `required` and, when possible, of the narrower level `preferred`.

    levels: node label keys, widest first; `required` and `preferred` are among them, "" for none.
    """

    name: str
    levels: tuple[str, ...]
    required: str = ""
    preferred: str = ""


@dataclass(frozen=True, slots=True)
class SubGroup:
    """A part of a gang: a leaf with `min_member` pods of its own, or an inner part of other parts.

    min_parts: how many of an inner part's children must have their minimum; None for all of them.
    """

    name: str
    parent: str = ""
    min_member: int | None = None
    min_parts: int | None = None
    topology: Topology | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """A subgroup in the tree of its gang. A leaf has no `children`."""

    name: str
    min_member: int
    min_parts: int
    topology: Topology | None
    children: tuple[Part, ...] = ()

    def is_met(self, held: Mapping[str, int]) -> bool:
        """Whether the part has its minimum; held: members that hold capacity, by leaf."""
        if not self.children:
            return held.get(self.name, 0) >= self.min_member
        return sum(child.is_met(held) for child in self.children) >= self.min_parts

    def leaves(self) -> list[Part]:
        return [leaf for child in self.children for leaf in child.leaves()] if self.children else [self]


class Elastic(StrEnum):
    """Where a gang stands against its minimum."""

    BELOW = "below"
    AT = "at"
    ABOVE = "above"


@dataclass(frozen=True, eq=False)
class Gang:
    """One gang as it is now. Times are the caller's seconds.

    key:        "namespace/name"; among equals the smaller goes first.
    created:    its age decides after priority.
    min_member: of the gang as a whole, without subgroups; min_parts: how many top subgroups must be met.
    confined_to: labels that its nodes must carry: node pool and node types of its project.
    started_at: when it last started, for its queue's minimum run time; None when unknown: not protected.
    stale_since: since when it has held fewer members than its minimum; None while it has not.
    stale_after_s: grace before it is evicted for that, None for the default, below 0 for never.
    waits_until: until when it causes no eviction (preemption delay).
    """

    key: str
    queue: ProjectName
    priority: int = names.DEFAULT_PRIORITY
    preemptible: bool = True
    created: float = 0.0
    min_member: int = 1
    min_parts: int | None = None
    subgroups: tuple[SubGroup, ...] = ()
    topology: Topology | None = None
    confined_to: tuple[tuple[str, tuple[str, ...]], ...] = ()
    members: tuple[Member, ...] = ()
    started_at: float | None = None
    stale_since: float | None = None
    stale_after_s: float | None = None
    waits_until: float | None = None
    by_state: dict[MemberState, tuple[Member, ...]] = field(init=False, repr=False)
    has_affinity: bool = field(init=False, repr=False)
    held: dict[str, int] = field(init=False, repr=False)  # leaf → ACTIVE members

    def __post_init__(self) -> None:
        sorted_: dict[MemberState, list[Member]] = {}
        for member in sorted(self.members, key=lambda one: one.turn):
            sorted_.setdefault(member.state, []).append(member)
        object.__setattr__(self, "by_state", {state: tuple(some) for state, some in sorted_.items()})
        held: dict[str, int] = {}
        for member in self.by_state.get(MemberState.ACTIVE, ()):
            leaf = self.leaf_of(member)
            held[leaf] = held.get(leaf, 0) + 1
        object.__setattr__(self, "held", held)
        object.__setattr__(self, "has_affinity", any(one.pod.affinity is not None for one in self.members))

    @cached_property
    def workload(self) -> str:
        """What its pods are, as users know it, with the namespace; its key when they are not all the same."""
        names_ = {one.pod.workload for one in self.members}
        return f"{self.key.partition('/')[0]}/{names_.pop()}" if len(names_) == 1 else self.key

    def in_state(self, *states: MemberState) -> tuple[Member, ...]:
        """Members in any of `states`, within each in the order in which they are placed."""
        if len(states) == 1:
            return self.by_state.get(states[0], ())
        return tuple(member for state in states for member in self.by_state.get(state, ()))

    @property
    def waiting(self) -> tuple[Member, ...]:
        """Members that do not hold anything yet, promised something or not."""
        nominated = self.by_state.get(MemberState.NOMINATED)
        pending = self.by_state.get(MemberState.PENDING, ())
        return tuple(sorted(pending + nominated, key=lambda one: one.turn)) if nominated else pending

    @property
    def active(self) -> tuple[Member, ...]:
        return self.in_state(MemberState.ACTIVE)

    @cached_property
    def is_met(self) -> bool:
        """Whether its ACTIVE members make up its minimum."""
        return self.tree.is_met(self.held)

    @cached_property
    def tree(self) -> Part:
        """The gang as a tree of parts; without subgroups a single leaf named ""."""
        if not self.subgroups:
            return Part("", self.min_member, 0, self.topology)
        by_parent: dict[str, list[SubGroup]] = {}
        for one in self.subgroups:
            by_parent.setdefault(one.parent, []).append(one)

        def grow(name: str, own: SubGroup | None) -> Part:
            children = tuple(grow(child.name, child) for child in by_parent.get(name, ()))
            least = self.min_parts if own is None else own.min_parts
            return Part(
                name,
                (own.min_member or 0) if own is not None and not children else 0,
                len(children) if least is None else least,
                self.topology if own is None else own.topology,
                children,
            )

        return grow("", None)

    def leaf_of(self, member: Member) -> str:
        """The leaf that a member counts in; one that names no subgroup we know counts in the first."""
        if not self.subgroups:
            return ""
        return member.subgroup if member.subgroup in self._leaf_names else next(iter(self._leaf_names))

    @cached_property
    def _leaf_names(self) -> dict[str, None]:
        return dict.fromkeys(leaf.name for leaf in self.tree.leaves())

    @cached_property
    def asks(self) -> tuple[tuple[object, ...], ...]:
        """What its waiting members ask for, in the order in which they are placed: equal asks fare equally."""
        return tuple(
            (
                one.pod.gpu,
                one.pod.cpu_milli,
                one.pod.memory_mib,
                one.pod.constraint,
                one.pod.gpu_products,
                one.pod.affinity,
                self.leaf_of(one),
            )
            for one in self.waiting
        )

    @property
    def turn(self) -> tuple[int, float, str]:
        """Sort key within a queue, before the elastic state is looked at: priority, then age."""
        return (-self.priority, self.created, self.key)


def cost(pod: Pod, gpu_memory_mib: int) -> Amounts:
    """What a pod costs its queue on GPUs of `gpu_memory_mib` MiB (0: unknown, then whole devices)."""
    if not pod.gpu.devices and not pod.gpu.mig and not pod.cpu_milli and not pod.memory_mib:
        return NOTHING
    return Amounts(pod.gpu.gpu_milli_on(gpu_memory_mib), pod.cpu_milli, pod.memory_mib)
