"""A small kube-scheduler: the one client that the extender has in the embedded cluster.

Knows what an extender can observe of kube-scheduler 1.36: which nodes it offers, in which form it asks,
what it makes of each answer, when it comes back. Does not know preemption (our profile switches it off),
topology spread, inter-pod affinity, volumes or dynamic resources. Read `MiniScheduler.run` (loop.py),
`choose_node` (cycle.py), then `SchedulingQueue` (queue.py).
"""

from extender.emulator.scheduler.config import ExtenderConfig, SchedulerConfig
from extender.emulator.scheduler.loop import MiniScheduler

__all__ = ["ExtenderConfig", "MiniScheduler", "SchedulerConfig"]
