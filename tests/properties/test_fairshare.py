"""Fair shares, the tree's counting and the order of queues against slow and obvious versions of the same rules."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from extender.fairshare.capacity import check
from extender.fairshare.division import Claim, divide
from extender.fairshare.order import Turns, saturation
from extender.fairshare.tree import UNBOUNDED, QuotaTree, Standing
from extender.model.amounts import Amounts
from extender.model.queue import Queue, Quota, Weights

milli = st.integers(0, 12_000)
whole = st.integers(0, 12).map(lambda number: number * 1000)
amount = milli | whole
claims = st.builds(
    Claim,
    requested=amount,
    deserved=st.none() | amount,
    limit=st.none() | amount,
    weight=st.integers(0, 4),
    priority=st.sampled_from([1, 2]),
    usage=st.sampled_from([Fraction(0), Fraction(1, 3), Fraction(1, 2), Fraction(1)]),
)


def divided(total: int, asked: list[Claim], unit: int, k: Fraction) -> list[Fraction]:
    """Step by step, as the rule is written, in exact fractions of a unit."""
    r = [Fraction(min([c.requested] if c.limit is None else [c.requested, c.limit]), unit) for c in asked]
    pool = Fraction(max(total, 0), unit)
    share = [
        min(pool if c.deserved is None else Fraction(c.deserved, unit), want) for c, want in zip(asked, r, strict=True)
    ]
    remaining = max(Fraction(total, unit) - sum(share), Fraction(0))
    noted: dict[int, Fraction] = {}
    priorities = sorted({c.priority for c in asked}, reverse=True)
    for priority in priorities:
        while True:
            open_ = [i for i, c in enumerate(asked) if c.priority == priority and c.weight > 0 and r[i] > share[i]]
            part = {i: Fraction(asked[i].weight, sum(asked[j].weight for j in open_)) for i in open_}
            w = {i: max(Fraction(0), part[i] + k * (part[i] - asked[i].usage)) for i in open_}
            if remaining == 0 or sum(w.values()) == 0:
                break
            s = {i: remaining * w[i] / sum(w.values()) for i in open_}
            someone_needed_less = False
            for i in open_:
                need = r[i] - share[i]
                if need <= s[i]:
                    share[i] += need
                    remaining -= need
                    noted.pop(i, None)
                    someone_needed_less |= need < s[i]
                else:
                    share[i] += s[i] // 1
                    remaining -= s[i] // 1
                    if s[i] % 1:
                        noted[i] = s[i] % 1
            if not someone_needed_less:
                break
    for priority in priorities:
        for i in sorted((i for i in noted if asked[i].priority == priority), key=lambda i: (-noted[i], i)):
            given_ = min(Fraction(1), remaining, r[i] - share[i])
            share[i] += given_
            remaining -= given_
    return [portion * unit for portion in share]


@settings(max_examples=600)
@given(st.integers(-3000, 40_000), st.lists(claims, max_size=6), st.sampled_from([1, 1000]), st.sampled_from([0, 1, 3]))
def test_the_same_shares(total: int, asked: list[Claim], unit: int, k: int) -> None:
    shares = divide(total, asked, unit=unit, k=Fraction(k))
    assert shares == divided(total, asked, unit, Fraction(k))

    wanted = [c.requested if c.limit is None else min(c.requested, c.limit) for c in asked]
    guaranteed = [
        min(max(total, 0) if c.deserved is None else c.deserved, want) for c, want in zip(asked, wanted, strict=True)
    ]
    for share, want, own in zip(shares, wanted, guaranteed, strict=True):
        assert own <= share <= want
    assert sum(shares) <= max(total, sum(guaranteed))


@given(st.integers(0, 40_000), st.lists(claims, min_size=1, max_size=6))
def test_nothing_is_left_while_somebody_with_a_weight_wants_it(total: int, asked: list[Claim]) -> None:
    shares = divide(total, asked, k=Fraction(0))
    if sum(shares) < total:
        for share, claim in zip(shares, asked, strict=True):
            want = claim.requested if claim.limit is None else min(claim.requested, claim.limit)
            assert share == want or claim.weight == 0


parts = st.integers(1, 2**50)


@given(parts, parts, parts, parts)
def test_saturations_compare_as_fractions_do(held: int, fair: int, other: int, others_fair: int) -> None:
    # The second pair differs as little as fractions of such numbers can.
    for one, two in ((Fraction(held, fair), Fraction(other, others_fair)), (Fraction(fair - 1, fair), Fraction(1))):
        ours, theirs = saturation(*one.as_integer_ratio()), saturation(*two.as_integer_ratio())
        assert (ours > theirs, ours == theirs) == (one > two, one == two)
    assert saturation(held, 0) > saturation(held, 1)


small = st.integers(0, 4).map(lambda number: number * 500)
quotas = st.builds(Quota, *[st.none() | small] * 3)
amounts = st.builds(Amounts, small, small, small)


@st.composite
def trees(draw: st.DrawFn) -> QuotaTree:
    weights = st.builds(Weights, *[st.integers(0, 3)] * 3)

    def queue(name: str, above: str) -> Queue:
        return Queue(
            name,
            draw(quotas),
            draw(quotas),
            above,
            draw(weights),
            draw(st.sampled_from([100, 101])),
            draw(st.sampled_from([0.0, 1.0])),
        )

    departments = [queue(name, above) for name, above in (("d1", ""), ("d2", ""), ("d3", "d2"))]
    projects = [
        queue(f"p{number}", draw(st.sampled_from(["", "d1", "d2", "d3"]))) for number in range(draw(st.integers(1, 6)))
    ]
    return QuotaTree(
        draw(st.builds(Amounts, *[st.integers(0, 16).map(lambda number: number * 500)] * 3)), projects, departments
    )


steps = st.lists(st.tuples(st.integers(0, 5), amounts, st.booleans()), max_size=8)


def chosen(tree: QuotaTree, number: int) -> Standing:
    projects = list(tree.projects.values())
    return projects[number % len(projects)]


def everything(tree: QuotaTree) -> list[list[list[int]]]:
    standings = [tree.root, *tree.departments.values(), *tree.projects.values()]
    return [[s.allocated[:], s.non_preemptible[:], s.requested[:], s.fair[:], s.allocatable[:]] for s in standings]


@settings(max_examples=150)
@given(trees(), steps, steps)
def test_a_plan_that_is_undone_leaves_no_trace(
    tree: QuotaTree, before: list[tuple[int, Amounts, bool]], plan: list[tuple[int, Amounts, bool]]
) -> None:
    for number, asked, preemptible in before:
        tree.request(chosen(tree, number), asked)
        tree.allocate(chosen(tree, number), asked, preemptible=preemptible)
    tree.refresh()
    expected = everything(tree)
    for number, asked, preemptible in plan:
        tree.request(chosen(tree, number), asked)
        tree.allocate(chosen(tree, number), asked, preemptible=preemptible)
        tree.refresh()
    for number, asked, preemptible in plan:
        tree.release(chosen(tree, number), asked, preemptible=preemptible)
        tree.withdraw(chosen(tree, number), asked)
    tree.refresh()
    assert everything(tree) == expected


@settings(max_examples=150)
@given(trees(), steps)
def test_every_level_adds_up(tree: QuotaTree, taken: list[tuple[int, Amounts, bool]]) -> None:
    for number, asked, preemptible in taken:
        tree.request(chosen(tree, number), asked)
        tree.allocate(chosen(tree, number), asked, preemptible=preemptible)
    tree.refresh()
    for standing in (tree.root, *tree.departments.values()):
        for figure in ("allocated", "non_preemptible", "requested"):
            below = [
                sum(values) for values in zip(*(getattr(child, figure) for child in standing.children), strict=True)
            ]
            assert getattr(standing, figure) == (below or [0, 0, 0])
        for resource in range(3):
            whole = standing.fair[resource]
            guaranteed = sum(
                min(whole if child.deserved[resource] >= UNBOUNDED else child.deserved[resource], child.fair[resource])
                for child in standing.children
            )
            shares = sum(child.fair[resource] for child in standing.children)
            assert shares <= max(whole, guaranteed)
    for project in tree.projects.values():
        for resource in range(3):
            assert project.fair[resource] <= min(project.requested[resource], project.limit[resource])


@settings(max_examples=150)
@given(trees(), steps, amounts, st.booleans())
def test_admits_says_what_check_says(
    tree: QuotaTree, taken: list[tuple[int, Amounts, bool]], asked: Amounts, preemptible: bool
) -> None:
    for number, held, kept in taken:
        tree.allocate(chosen(tree, number), held, preemptible=kept)
    for project in tree.projects.values():
        refusal = check(project.usages(), asked, preemptible=preemptible)
        assert project.admits(asked, preemptible=preemptible) == (refusal is None)


def best(tree: QuotaTree, jobs: dict[Standing, Amounts]) -> Standing | None:
    """Every level sorted afresh, shares as fractions."""

    def below(standing: Standing) -> tuple[Standing, Amounts] | None:
        if not standing.children:
            return (standing, jobs[standing]) if standing in jobs else None
        offers = [(child, found) for child in standing.children if (found := below(child)) is not None]
        return min(offers, key=lambda offer: rank(offer[0], offer[1][1]))[1] if offers else None

    def rank(s: Standing, job: Amounts) -> tuple[object, ...]:
        asked = (job.gpu_milli, job.cpu_milli, job.memory_mib)
        after = [held + more for held, more in zip(s.allocated, asked, strict=True)]
        pool = (tree.total.gpu_milli, tree.total.cpu_milli, tree.total.memory_mib)
        whole = [share if share < UNBOUNDED else total for share, total in zip(s.allocatable, pool, strict=True)]

        def dominant(amounts: list[int]) -> Fraction:
            return max(Fraction(a, w) if w else Fraction(a * 1000) for a, w in zip(amounts, whole, strict=True))

        return (
            all(held > fair for held, fair in zip(s.allocated, s.fair, strict=True)),
            any(a > d for a, d in zip(after, s.deserved, strict=True)),
            -s.queue.priority,
            any(share == 0 and a > 0 for share, a in zip(s.allocatable, after, strict=True)),
            dominant(after),
            dominant(s.allocated),
            tuple(s.allocatable),
            (s.queue.created, s.queue.name),
        )

    found = below(tree.root)
    return found[0] if found else None


@settings(max_examples=150)
@given(trees(), steps, st.lists(st.lists(amounts, max_size=4), min_size=6, max_size=6), st.data())
def test_the_same_turns(
    tree: QuotaTree, taken: list[tuple[int, Amounts, bool]], waiting: list[list[Amounts]], data: st.DataObject
) -> None:
    for number, held, kept in taken:
        tree.request(chosen(tree, number), held)
        tree.allocate(chosen(tree, number), held, preemptible=kept)
    queues = {project: list(jobs) for project, jobs in zip(tree.projects.values(), waiting, strict=False)}
    for project, jobs in queues.items():
        for job in jobs:
            tree.request(project, job)
    turns = Turns(tree)
    for project, jobs in queues.items():
        turns.offer(project, jobs[0] if jobs else None)
    while True:
        heads = {project: jobs[0] for project, jobs in queues.items() if jobs}
        first = turns.first()
        assert first is best(tree, heads)
        if first is None:
            break
        job = queues[first].pop(0)
        if data.draw(st.booleans(), label="placed"):
            tree.allocate(first, job, preemptible=True)
        turns.offer(first, queues[first][0] if queues[first] else None)
