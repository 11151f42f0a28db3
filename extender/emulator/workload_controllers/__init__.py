"""The part of kube-controller-manager that the embedded cluster needs: Jobs, StatefulSets, ReplicaSets,
Deployments.

Knows how each brings its pods to the wanted number, in upstream's order and with upstream's names and
labels as far as others read them. Does not know DaemonSets, CronJobs, volumes, histories, or node health. A
real cluster has its own controllers; never run these beside them. Read `WorkloadControllers.run`
(controllers.py), `World` (world.py), then `JobController.reconcile` (job.py).
"""

from extender.emulator.workload_controllers.controllers import WorkloadControllers

__all__ = ["WorkloadControllers"]
