"""Capacity checks against exact fractions, written as the rule is written (behaviour.md 6.8)."""

from __future__ import annotations

import re
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from extender.fairshare.capacity import Usage, check
from extender.model.amounts import Amounts, format_gb, format_milli
from extender.model.queue import Queue, Quota
from extender.model.verdict import Reason

FIELDS = ("gpu_milli", "cpu_milli", "memory_mib")

small = st.integers(0, 40)
amounts = st.builds(Amounts, small, small, small)
quotas = st.builds(Quota, *[st.none() | small] * 3)
queues = st.builds(Queue, st.sampled_from(["a", "b", "c"]), quotas, quotas)
usages = st.builds(lambda kept, more: Usage(kept + more, kept), amounts, amounts)
paths = st.lists(st.tuples(queues, usages), min_size=0, max_size=3)


def refusal(path: list[tuple[Queue, Usage]], asked: Amounts, preemptible: bool) -> tuple[Reason, str, str] | None:
    for queue, usage in path:
        for field in FIELDS:
            limit = getattr(queue.limit, field)
            if limit is None or getattr(asked, field) == 0:
                continue
            if Fraction(getattr(usage.allocated, field), 1000) + Fraction(getattr(asked, field), 1000) > Fraction(
                limit, 1000
            ):
                return Reason.OVER_LIMIT, queue.name, field
    if not preemptible:
        for queue, usage in path:
            for field in FIELDS:
                quota = getattr(queue.deserved, field)
                if quota is None or getattr(asked, field) == 0:
                    continue
                held = Fraction(getattr(usage.non_preemptible, field), 1000)
                if held + Fraction(getattr(asked, field), 1000) > Fraction(quota, 1000):
                    return Reason.NON_PREEMPTIBLE_OVER_QUOTA, queue.name, field
    return None


@settings(max_examples=400)
@given(paths, amounts, st.booleans())
def test_the_same_first_refusal(path: list[tuple[Queue, Usage]], asked: Amounts, preemptible: bool) -> None:
    expected = refusal(path, asked, preemptible)
    verdict = check(path, asked, preemptible=preemptible)
    if expected is None:
        assert verdict is None
        return
    assert verdict is not None
    reason, name, field = expected
    assert verdict.reason is reason
    assert re.search(rf"\b{name} quota (has reached|is)\b", verdict.message)
    formatted = format_gb if field == "memory_mib" else format_milli
    assert f"requested {formatted(getattr(asked, field))} " in verdict.message


@given(st.lists(st.integers(1, 500), max_size=12), st.integers(0, 2000))
def test_shares_are_taken_while_their_exact_sum_fits(shares: list[int], quota: int) -> None:
    held = Fraction(0)
    for share in shares:
        usage = Usage(Amounts(int(held * 1000)), Amounts(int(held * 1000)))
        queue = Queue("q", deserved=Quota(gpu_milli=quota))
        fits = check([(queue, usage)], Amounts(share), preemptible=False) is None
        assert fits == (held + Fraction(share, 1000) <= Fraction(quota, 1000))
        if fits:
            held += Fraction(share, 1000)
