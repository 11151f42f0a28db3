"""The configuration of the kube-scheduler beside the extender: a second instance that serves one profile.

It is a text and not a dict because its comments are for the administrator who reads the installed file. The
end-to-end tests start a real kube-scheduler with this very file.
"""

from __future__ import annotations

from extender.wire.manifests.names import EXTENDER_PORT, LEASE, NAME, NAMESPACE

FILTER_TIMEOUT_S = 2
BIND_TIMEOUT_S = 60

FEATURE_GATES = "SchedulerPopFromBackoffQ=false"
"""On since 1.33, it skips the back-off of a refused pod whenever the queue is empty. Unknown before 1.33."""


def configuration() -> str:
    """The KubeSchedulerConfiguration file."""
    return f"""\
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
leaderElection:
  leaderElect: true  # one active kube-scheduler, so one active extender: the one in its Pod
  resourceNamespace: {NAMESPACE}
  resourceName: {LEASE}  # the extender reads this Lease; it must not be the stock "kube-scheduler"
clientConnection:
  qps: 200  # the default of 50 throttles the status patches of refused pods
  burst: 400
percentageOfNodesToScore: 100  # a sample of the nodes may leave out the only one that fits
podInitialBackoffSeconds: 1  # a refused pod waits 1, 2, 4, 8 and then 10 seconds between attempts
podMaxBackoffSeconds: 10
profiles:
- schedulerName: {NAME}  # pods ask for us with spec.schedulerName
  plugins:
    postFilter:
      disabled:
      - name: DefaultPreemption  # it sees neither quotas nor parts of GPUs: it would evict and gain nothing
extenders:
# No managedResources in either entry: every pod of this scheduler belongs to a project and is judged.
- urlPrefix: http://127.0.0.1:{EXTENDER_PORT}/extender  # same Pod: no network hop, no TLS needed
  filterVerb: filter
  prioritizeVerb: prioritize  # called only when filter leaves several nodes (placement.answer: all)
  preemptVerb: preempt  # called only where an administrator enables DefaultPreemption
  weight: 150  # one step of ours (150 x 10) outweighs all in-tree scores together (about 1,400)
  nodeCacheCapable: true  # names, not objects: with objects, nodes are scored as if they had no pods
  httpTimeout: {FILTER_TIMEOUT_S}s  # a stalled extender holds up the scheduling loop for no longer than this
  ignorable: false  # no answer means no placement
# kube-scheduler allows one binder; in an entry of its own it has a timeout of its own.
- urlPrefix: http://127.0.0.1:{EXTENDER_PORT}/extender
  bindVerb: bind
  nodeCacheCapable: true
  httpTimeout: {BIND_TIMEOUT_S}s  # bind waits for the API server; the scheduling loop goes on meanwhile
  ignorable: false  # true would let the default binder bind a pod without its GPU
"""
