"""Every name that others see: annotations, labels, resources, groups. One module, so that none is spelled twice."""

from __future__ import annotations

from typing import NewType

PodUID = NewType("PodUID", str)
NodeName = NewType("NodeName", str)
ProjectName = NewType("ProjectName", str)

SCHEDULER_NAME = "runai-scheduler"

# Read from pods.
GROUP_NAME_ANNOTATION = "scheduling.k8s.io/group-name"  # hand-made groups, the form of the first seed
POD_GROUP_ANNOTATION = "pod-group-name"  # written by groupers
GPU_FRACTION = "gpu-fraction"
GPU_MEMORY = "gpu-memory"
GPU_FRACTION_NUM_DEVICES = "gpu-fraction-num-devices"
GPU_FRACTION_CONTAINER = "gpu-fraction-container-name"
MPS = "mps"
PRIORITY_CLASS_LABEL = "priorityClassName"
SUBGROUP_LABEL = "kai.scheduler/subgroup-name"
TASK_PRIORITY_LABEL = "kai.scheduler/task-priority"
POD_TEMPLATE_HASH_LABEL = "pod-template-hash"  # by Kubernetes, on the pods of a ReplicaSet of a Deployment
QUEUE_LABELS = ("runai/queue", "kai.scheduler/queue", "project")  # a pod's project, first that is set

# Written on pods by the admission webhook, taken off by the planner.
SCHEDULING_GATE = "run.ai/queued"

# Kinds whose pods start together: theirs wait for the PodGroup that is made for them.
GANG_KINDS = frozenset({"JAXJob", "JobSet", "MPIJob", "PaddleJob", "PyTorchJob", "RayCluster", "TFJob", "XGBoostJob"})

# Read from workloads and their pods when a PodGroup is made for them.
SKIP_GROUPING_ANNOTATION = "kai.scheduler/skip-podgrouper"
MIN_MEMBER_ANNOTATION = "kai.scheduler/batch-min-member"
PREEMPTIBILITY_LABEL = "kai.scheduler/preemptibility"
PREEMPTION_DELAY_ANNOTATION = "kai.scheduler/preemption-delay"
STALENESS_GRACE_ANNOTATION = "kai.scheduler/staleness-grace-period"
TOPOLOGY_ANNOTATION = "kai.scheduler/topology"
TOPOLOGY_REQUIRED_ANNOTATION = "kai.scheduler/topology-required-placement"
TOPOLOGY_PREFERRED_ANNOTATION = "kai.scheduler/topology-preferred-placement"

# Read from namespaces.
QUEUE_LABEL = "runai/queue"
NAMESPACE_PREFIX = "runai-"
ENFORCE_SCHEDULER_ANNOTATION = "runai/enforce-scheduler-name"  # "true": every pod made there is for us

# Namespaces of the system itself: nothing in them is held back, changed or judged.
SYSTEM_NAMESPACE = "runai"
RESERVATION_NAMESPACE = "runai-reservation"
OWN_NAMESPACES = (SYSTEM_NAMESPACE, RESERVATION_NAMESPACE)
WORKLOADS_LEASE = "runai-workloads"  # in the system namespace: whose holder's controllers of workloads work

# Read from nodes (GPU feature discovery writes them).
NODE_GPU_COUNT = "nvidia.com/gpu.count"
NODE_GPU_MEMORY = "nvidia.com/gpu.memory"
NODE_GPU_PRODUCT = "nvidia.com/gpu.product"
NODE_MIG_STRATEGY = "nvidia.com/mig.strategy"

# Node pools and node types. Which label of a node names its pool is a setting; pods name theirs by this one.
NODE_POOL_LABEL = "kai.scheduler/node-pool"
POOL_KEY = "pool of the node"  # among a node's labels it stands for its pool; no label is called so
DEFAULT_POOL = "default"  # of nodes without that label
NODE_POOLS_ANNOTATION = "run.ai/node-pools"  # several, separated by spaces, in the order in which they are tried
NODE_TYPE_LABEL = "run.ai/type"

# Written on pods by the Binding.
GPU_DEVICES_ANNOTATION = "runai-gpu"
GPU_SHARE_ANNOTATION = "runai-gpu-share"  # milli-GPU of each device: what the owner edits later changes nothing
RESOURCE_TYPE_ANNOTATION = "received-resource-type"
GPU_GROUP_LABEL = "runai-gpu-group"  # one device; several: `runai-gpu-group/<group>: <group>` each
RESOURCE_TYPE_REGULAR = "Regular"
RESOURCE_TYPE_FRACTION = "Fraction"
GPU_UUID_ANNOTATION = "runai-gpu-uuid"  # the physical devices of a share, in the order of `runai-gpu`
WAKE_ANNOTATION = "runai/woken"
# What the Binding says of a pod: whoever writes these when creating one, it is not us.
RECORD_ANNOTATIONS = (
    GPU_DEVICES_ANNOTATION,
    GPU_SHARE_ANNOTATION,
    GPU_UUID_ANNOTATION,
    RESOURCE_TYPE_ANNOTATION,
    GPU_GROUP_LABEL,
)

# Shared devices: the ConfigMap that tells a container which device it got, and the pod that holds the device.
GPU_CONFIG_MAP_ANNOTATION = "runai/shared-gpu-configmap"  # by the admission webhook; filled before the Binding
RESERVED_UUID_ANNOTATION = "run.ai/reserve_for_gpu_index"  # on a reservation pod, by itself: the UUID of its device
RESERVED_INDEX_ANNOTATION = "run.ai/gpu-index"  # beside it: the driver's number of that device on the node

# Read from RunaiJobs; written on their pods.
TERMINATE_AFTER_PREEMPTION_ANNOTATION = "runai/terminate-after-preemption"  # "true": an eviction ends the job
JOB_UID_LABEL = "run.ai/job-uid"  # by this the pods of a RunaiJob are found
JOB_NAME_LABEL = "run.ai/runaijob-name"
POD_INDEX_LABEL = "run.ai/pod-index"

# Read from jobs: the job with whose end they are over.
ENDS_WITH_ANNOTATION = "run.ai/ends-with"

# Written on workloads (behaviour.md 2.5), the first on pods too.
CALCULATED_STATUS_ANNOTATION = "runai-calculated-status"
RUNNING_PODS_ANNOTATION = "runai-running-pods"
PENDING_PODS_ANNOTATION = "runai-pending-pods"
USED_NODES_ANNOTATION = "runai-used-nodes"
TIMED_OUT = "TimedOut"
IDLE_TIMED_OUT = "IdleTimedOut"  # the reason in Events when it was not the run time but the time without use of GPUs

# Groups of GPU figures on workloads: `<prefix>-gpus` and `<prefix>-gpus-memory`.
PODGROUP_REQUESTED = "runai-podgroup-requested"
CURRENT_ALLOCATED = "runai-current-allocated"
CURRENT_REQUESTED = "runai-current-requested"
TOTAL_REQUESTED = "runai-total-requested"

# Resources.
GPU_RESOURCE = "nvidia.com/gpu"
MIG_PREFIX = "nvidia.com/mig-"

# API groups of ours.
RUN_AI_GROUP = "run.ai"
POD_GROUP_GROUP = "scheduling.incubator.k8s.io"

# Priority classes that are installed with us. 100 and above is non-preemptible and never over quota.
PRIORITY_CLASSES = {"inference": 125, "build": 100, "interactive-preemptible": 75, "train": 50}
PRIORITY_ALIASES = {"build-preemptible": "interactive-preemptible"}
DEFAULT_PRIORITY = 50
DEFAULT_PRIORITY_CLASS = "train"
NON_PREEMPTIBLE_FROM = 100
# A Build workload of the first seed is a StatefulSet and serving is a Deployment; all else trains.
PRIORITY_CLASS_OF_OWNER = {"StatefulSet": "build", "ReplicaSet": "inference", "Deployment": "inference"}


def project_namespace(project: str) -> str:
    """The namespace that belongs to `project`."""
    return NAMESPACE_PREFIX + project
