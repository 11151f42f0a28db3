"""The planner's loop: it plans when something moved, and carries out what the plan says.

A seated pod is nominated, so that kube-scheduler looks at one node for it, and its gate is lifted. A victim leaves
through the Eviction API, which respects disruption budgets; whoever it was to make way for keeps its place meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from itertools import takewhile
from math import inf
from typing import Any

from extender import logs, metrics
from extender.cluster.picture import HoldState, Picture, PodRecord
from extender.controllers import gates
from extender.controllers.evictions import Evictions, by_gang
from extender.controllers.nominations import Nominations
from extender.errors import ApiError, NotFoundError
from extender.kube.client import KubeClient
from extender.kube.events import EventRecorder, Subject
from extender.model import names
from extender.model.names import PodUID
from extender.model.pod import Pod
from extender.model.verdict import Verdict
from extender.planning.planner import Planner

_TICK_S = 0.01
_LONGEST_PAUSE_S = 30.0
_LOOK_EVERY_S = 0.1
_IDLE_PER_BUSY = 2.0  # a plan that took 10 ms leaves the loop to the verbs for 20
_TAKE_BACK_EVERY_S = 0.25
_PORTION = 500  # changed pods
_TAKING_BACK_S = 0.1  # kube-scheduler waits meanwhile: who is not looked at in this time has its turn later
_FEWEST_LINES, _MOST_LINES = 32, 4096
_REST_PER_TAKING_BACK = 10.0
_LOOK_AGAIN_S = 5.0  # minimum run times and delays pass although nothing moves
_NEWS_AFTER_S = 1.0
_TIDY_EVERY_S = 1.0
_REMIND_AFTER_S = 2.0  # then after twice that, and so on
_MOST_REMINDED = 64  # each time
_WRITES = 64  # at a time
_RETRY_S = 1.0

log = logs.get("planner")


class PlanningLoop:
    """One per process; `run` it as a task. It plans and writes only while `is_active` says that we decide."""

    def __init__(
        self,
        client: KubeClient,
        picture: Picture,
        planner: Planner,
        events: EventRecorder,
        is_active: Callable[[], bool],
    ) -> None:
        self._client = client
        self._picture = picture
        self._planner = planner
        self._events = events
        self._is_active = is_active
        self._writes = asyncio.Semaphore(_WRITES)
        self._under_way: set[asyncio.Task[None]] = set()
        self._nominations = Nominations(client, picture)
        self._evictions = Evictions(client, picture, planner, events, is_active, self._tell)
        self._was_active = False
        self._tidy_at = 0.0
        self._reminders: dict[PodUID, tuple[float, float]] = {}  # seated pods → when, and how long after the last time
        self._news: dict[str, tuple[Verdict, float]] = {}  # gang → why it waits, and when to tell; the eldest first
        self._lines = _FEWEST_LINES  # that one taking back looks at
        self._look_at = 0.0
        self._take_back_at = 0.0
        self._look_again_at = 0.0

    async def run(self) -> None:
        """Plan until cancelled; writes under way are cancelled with it."""
        rest_s = _TICK_S
        try:
            while True:
                began = time.perf_counter()
                try:
                    await self._take_in()
                    self._round()
                    self._planner.is_paused, rest_s = False, _TICK_S
                except Exception:
                    # The loop must survive whatever one round meets, and say so less and less often.
                    log.exception("planning_failed")
                    self._planner.is_paused, rest_s = True, min(max(1.0, 2 * rest_s), _LONGEST_PAUSE_S)
                await asyncio.sleep(max(rest_s, _IDLE_PER_BUSY * (time.perf_counter() - began)))
        finally:
            for task in self._under_way:
                task.cancel()

    async def _take_in(self) -> None:
        """After a list, in portions: the verbs are served in between."""
        while len(self._picture.stirred) > _PORTION:
            self._planner.roster.refresh(time.time(), most=_PORTION)
            await asyncio.sleep(0)

    def _round(self) -> None:
        today, clock = time.time(), time.monotonic()
        paused = self._planner.is_paused
        if not paused and not self._picture.has_news and not self._planner.is_behind and clock < self._look_at:
            return  # nothing that cannot wait: the verbs go first
        self._picture.has_news = False
        self._look_at = clock + _LOOK_EVERY_S
        if not self._is_active():
            self._planner.roster.refresh(today)
            self._was_active = False
            return
        if not self._was_active:
            self._was_active = True
            self._nominations.adopt()
        self._planner.allocate(today, clock)
        due = self._planner.may_take_back or clock >= self._look_again_at
        if due and clock >= self._take_back_at:
            self._planner.take_back(today, clock, most_lines=self._lines)
            took_s = time.monotonic() - clock
            fitting = int(self._lines * _TAKING_BACK_S / max(took_s, 0.001))
            self._lines = max(_FEWEST_LINES, min(fitting, 2 * self._lines, _MOST_LINES))
            self._take_back_at = clock + max(_TAKE_BACK_EVERY_S, _REST_PER_TAKING_BACK * took_s)
            self._look_again_at = clock + max(_LOOK_AGAIN_S, 2 * _REST_PER_TAKING_BACK * took_s)
        orders = self._planner.take_orders()
        for uid in orders.seated:
            self._spawn(self._start(uid, _REMIND_AFTER_S))
        for uid, verdict in orders.promised.items():
            record = self._picture.pods.get(uid)
            if record is not None:
                self._events.record(_subject(record.pod), "Normal", verdict.reason.value, verdict.message)
        for victims in by_gang(orders.evictions):
            self._spawn(self._evictions.make_way(victims))
        self._tell_why(orders.refused, clock)
        if clock >= self._tidy_at:
            self._tidy_at = clock + _TIDY_EVERY_S
            for uid in self._nominations.stale():
                self._spawn(self._withdraw(uid))
            self._evictions.tidy(clock)
            self._remind(clock)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _start(self, uid: PodUID, pause_s: float) -> None:
        """Nominate a seated pod, and lift its gate or touch it; again when it has not come `pause_s` later."""
        self._reminders[uid] = (inf, pause_s)
        again = (_RETRY_S, pause_s)
        async with self._writes:
            try:
                if await self._bring(uid, is_reminder=pause_s > _REMIND_AFTER_S):
                    again = (pause_s, 2 * pause_s)
                    if pause_s == _REMIND_AFTER_S:
                        metrics.SEATED.inc()
            except NotFoundError:
                pass  # the watch will say so
            except ApiError as error:
                log.warning("start_failed", pod=uid, cause=error.message)
        self._reminders[uid] = (time.monotonic() + again[0], again[1])

    async def _bring(self, uid: PodUID, *, is_reminder: bool) -> bool:
        """False: it has another seat by now, or none. Raises ApiError."""
        record = self._picture.pods.get(uid)
        if record is None or not _is_seated(record):
            return False
        assert record.hold is not None
        if not await self._nominations.give(uid, record.hold.placement.node):
            return False
        pod = record.pod  # as it is by now
        if pod.is_gated:
            await gates.lift(self._client, pod.namespace, pod.name, uid)
        elif pod.unschedulable or record.verdict is not None or is_reminder:
            # A nomination alone does not make kube-scheduler try it again.
            woken = {"uid": uid, "annotations": {names.WAKE_ANNOTATION: f"{time.time():.3f}"}}
            await self._client.patch(f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}", {"metadata": woken})
        return True

    def _remind(self, clock: float) -> None:
        """kube-scheduler may have tried a seated pod before it saw that there is room, and put it aside; or a write
        failed. Nothing else would bring it back for minutes. Whom it has yet to try is left in peace.
        """
        due = []
        for uid, (at, pause_s) in list(self._reminders.items()):
            record = self._picture.pods.get(uid)
            if record is None or not _is_seated(record):
                del self._reminders[uid]
            elif at <= clock and (record.pod.is_gated or record.pod.unschedulable or record.verdict is not None):
                due.append((at, uid, pause_s))
        for _, uid, pause_s in sorted(due)[:_MOST_REMINDED]:
            self._spawn(self._start(uid, pause_s))

    async def _withdraw(self, uid: PodUID) -> None:
        try:
            await self._nominations.withdraw(uid)
        except ApiError as error:
            log.warning("withdrawal_failed", pod=uid, cause=error.message)  # looked at again before long

    def _tell_why(self, refused: dict[str, Verdict], clock: float) -> None:
        """Tell the owners of gangs why they wait, once that has stood for a moment: gangs arrive pod by pod."""
        for key, verdict in refused.items():
            self._news.pop(key, None)
            self._news[key] = (verdict, clock + _NEWS_AFTER_S)
        due = [key for key, (_, at) in takewhile(lambda item: item[1][1] <= clock, self._news.items())]
        for key in due:
            verdict, _ = self._news.pop(key)
            current = self._planner.verdicts.get(key)
            if current is not None and current.reason is verdict.reason:
                self._tell(key, current.reason.value, current.message)

    def _tell(self, key: str, reason: str, message: str) -> None:
        """The owner of a gang that waits hears something once."""
        gang = self._planner.roster.gang(key)
        waiting = gang.waiting if gang is not None else ()
        if waiting:
            self._events.record(_subject(waiting[0].pod), "Warning", reason, message)


def _is_seated(record: PodRecord) -> bool:
    return record.hold is not None and record.hold.state is HoldState.RESERVED


def _subject(pod: Pod) -> Subject:
    return Subject("Pod", pod.namespace, pod.name, pod.uid)
