"""The parameters of the five kinds of workloads, each written once: name, type, meaning.

These flat models are the body of a submission: REST takes them as they are, and `runai submit` has a flag for each.
`resources.py` makes the custom resources of them, in which each value is wrapped, and the policies, in which each has
rules. behaviour.md 2.3 says which kinds have which parameter.
"""

from __future__ import annotations

from pydantic import Field

from extender.wire.resources.parts import Part
from extender.wire.workloads import items
from extender.wire.workloads.types import (
    AffinityRule,
    CleanPodPolicy,
    Duration,
    Flag,
    Integer,
    Metric,
    MigProfile,
    Number,
    PullPolicy,
    Quantity,
    ServiceType,
    Text,
    Texts,
)


class Common(Part):
    """What every kind has."""

    name: Text | None = Field(
        None,
        description=(
            "Specifies the name of the job: at most 49 lowercase letters, digits and hyphens, a letter first. A name "
            "that is taken is refused. It cannot be given together with namePrefix. When neither is given, the name "
            "is job-<number>."
        ),
    )
    name_prefix: Text | None = Field(
        None,
        description=(
            "Specifies what the name of the job begins with; a hyphen and the first free number follow, as in "
            "jupyter-1. It cannot be given together with name."
        ),
    )
    username: Text | None = Field(None, description="Specifies the name to show as the submitter. It grants nothing.")
    user_id: Text | None = Field(None, description="Specifies the submitter's identity, the subject of their token.")
    labels: dict[str, str] | None = Field(
        None, description="Specifies labels of the job and of its pods; an item's label is the key of the label."
    )
    annotations: dict[str, str] | None = Field(
        None, description="Specifies annotations of the pods; an item's label is the key of the annotation."
    )
    image: Text | None = Field(
        None,
        description=(
            "Specifies the image of the container. It must be given by the workload, its base workload or the policy."
        ),
    )
    image_pull_policy: PullPolicy | None = Field(
        None, description="Specifies when the image is pulled: Always, which is the default, IfNotPresent or Never."
    )
    image_pull_secrets: dict[str, str] | None = Field(
        None,
        description="Specifies Secrets of the namespace to pull the image with; an item's value is a Secret's name.",
    )
    command: Text | None = Field(
        None,
        description=(
            "Specifies what is run in place of the image's entrypoint. It is split into words as a shell does it, "
            "quotes included; nothing is expanded."
        ),
    )
    arguments: Text | None = Field(
        None, description="Specifies the arguments of the command or entrypoint, split into words as a shell does it."
    )
    environment: dict[str, str] | None = Field(
        None,
        description=(
            "Specifies environment variables of the container; an item's label is the name of the variable. A value "
            "SECRET:<name>,<key> takes it from a Secret of the namespace."
        ),
    )
    working_dir: Text | None = Field(None, description="Specifies the folder in which the container starts.")
    stdin: Flag | None = Field(None, description="Specifies that the container's standard input is kept open.")
    tty: Flag | None = Field(None, description="Specifies that the container has a terminal. It needs stdin.")
    create_home_dir: Flag | None = Field(
        None,
        description=(
            "Specifies that the container has a home folder of its own, which lives as long as the pod. The default "
            "is true when runAsUser is."
        ),
    )
    git_sync: dict[str, items.GitRepository] | None = Field(
        None, description="Specifies git repositories that are checked out before the container starts."
    )
    capabilities: dict[str, str] | None = Field(
        None,
        description="Specifies Linux capabilities that the container gets; an item's value is one, such as SYS_PTRACE.",
    )
    gpu: Number | None = Field(
        None,
        description=(
            "Specifies the number of GPUs: a whole number of devices, or a fraction of one between 0 and 1, such as "
            '"0.5", which is shared with others. When it is absent, the workload gets no GPU. It excludes gpuMemory '
            "and migProfile. The value is written in quotes."
        ),
    )
    gpu_limit: Quantity | None = Field(
        None,
        description="Specifies the part of the GPU up to which a workload with a fraction may use it while it is idle.",
    )
    gpu_memory: Quantity | None = Field(
        None,
        description=(
            "Specifies an amount of GPU memory, at least 100M, of a device that is shared with others. It excludes gpu "
            "and migProfile."
        ),
    )
    mig_profile: MigProfile | None = Field(
        None, description="Specifies a MIG slice of a GPU by its profile, such as 1g.5gb. It excludes gpu, gpuMemory."
    )
    cpu: Quantity | None = Field(
        None,
        description=(
            'Specifies the CPU cores that are kept for the workload, such as "0.5", 2 or "500m". When it is absent and '
            "the workload has GPUs, the cluster's default for a GPU counts."
        ),
    )
    cpu_limit: Quantity | None = Field(None, description="Specifies the most CPU cores that the workload may use.")
    memory: Quantity | None = Field(
        None,
        description=(
            "Specifies the main memory that is kept for the workload. When it is absent and the workload has GPUs, the "
            "cluster's default for a GPU counts."
        ),
    )
    memory_limit: Quantity | None = Field(
        None, description="Specifies the most main memory that the workload may use; beyond it, it is killed."
    )
    large_shm: Flag | None = Field(
        None, description="Specifies that /dev/shm is as large as the memory allows, as data loaders need it."
    )
    extended_resources: dict[str, items.ExtendedResource] | None = Field(
        None, description="Specifies amounts of resources beside CPU, memory and GPUs."
    )
    volumes: dict[str, items.Volume] | None = Field(
        None, description="Specifies folders of the node, or of NFS servers, that are mounted in the container."
    )
    mount_propagation: Flag | None = Field(
        None, description="Specifies that what is mounted below a volume on the node later appears in the container."
    )
    pvcs: dict[str, items.Claim] | None = Field(
        None, description="Specifies PersistentVolumeClaims, existing or new, that are mounted in the container."
    )
    s3: dict[str, items.Bucket] | None = Field(
        None, description="Specifies S3 buckets that are copied to the container before it starts."
    )
    empty_dir_volumes: dict[str, items.EmptyFolder] | None = Field(
        None, description="Specifies empty folders that live as long as the pod."
    )
    config_map_volumes: dict[str, items.MountedObject] | None = Field(
        None, description="Specifies ConfigMaps of the namespace that are mounted as files."
    )
    secret_volumes: dict[str, items.MountedObject] | None = Field(
        None, description="Specifies Secrets of the namespace that are mounted as files."
    )
    ports: dict[str, items.Port] | None = Field(
        None,
        description=(
            "Specifies ports of the container, and how others reach them. Each has a Service, <job>-<item label>."
        ),
    )
    service_type: ServiceType | None = Field(
        None,
        description=(
            "Specifies how ports without a service type of their own are reached: ClusterIP, the default (also written "
            "portforward), NodePort, LoadBalancer or ingress."
        ),
    )
    exposed_urls: dict[str, items.ExposedUrl] | None = Field(
        None, description="Specifies ports of the container that have a URL at the cluster's ingress."
    )
    ingress_url: Text | None = Field(
        None, description="Specifies the URL of the cluster's ingress. It is set by the system."
    )
    host_ipc: Flag | None = Field(None, description="Specifies that the container shares the node's IPC namespace.")
    host_network: Flag | None = Field(None, description="Specifies that the container shares the node's network.")
    node_type: Text | None = Field(
        None,
        description=(
            "Specifies nodes (machines) or a group of nodes on which the workload will run. The administrator groups "
            "nodes by the node label run.ai/type, and its value is given here. A project may be limited to some node "
            "types; then this must be one of them and narrows the choice further. When it is absent, the workload runs "
            "on any node that the project may use."
        ),
    )
    node_pools: Texts | None = Field(
        None,
        description=(
            "Specifies node pools in the order in which they are tried. When it is absent, the project's default ones "
            "count."
        ),
    )
    node_pool: Text | None = Field(
        None, description="Specifies the one node pool in which the workload runs. Deprecated: use nodePools."
    )
    tolerations: dict[str, items.Toleration] | None = Field(
        None, description="Specifies taints of nodes that the workload tolerates."
    )
    pod_affinity: Flag | None = Field(
        None, description="Specifies that the pods of the workload run near each other, as podAffinityTopology says."
    )
    pod_affinity_scheduling_rule: AffinityRule | None = Field(
        None, description="Specifies whether podAffinity is a must (hard) or a preference (soft, the default)."
    )
    pod_affinity_topology: Text | None = Field(
        None,
        description="Specifies the node label whose value nodes near each other share, such as a rack's or a zone's.",
    )
    run_as_user: Flag | None = Field(
        None, description="Specifies that the container runs with the submitter's user and group, not the image's."
    )
    run_as_uid: Integer | None = Field(
        None, description="Specifies the user ID that the container runs with. It needs runAsUser."
    )
    run_as_gid: Integer | None = Field(
        None, description="Specifies the group ID that the container runs with. It needs runAsUser."
    )


class Restrictable(Part):
    """What all but inference have."""

    supplemental_groups: Text | None = Field(
        None, description='Specifies further group IDs of the container, separated by semicolons, as in "100;2000".'
    )
    allow_privilege_escalation: Flag | None = Field(
        None, description="Specifies whether a process in the container may gain more rights than its parent has."
    )


class Notebook(Part):
    """What only interactive work has."""

    jupyter: Flag | None = Field(
        None,
        description=(
            "Specifies that the workload is a Jupyter notebook: unless other values are given, it runs the image "
            "jupyter/scipy-notebook and has port 8888."
        ),
    )
    notebook_token: Text | None = Field(
        None, description="Specifies the token that opens the notebook, best as SECRET:<name>,<key>."
    )
    tensorboard: Flag | None = Field(
        None, description="Specifies that a TensorBoard runs beside the workload and has port 6006."
    )
    tensorboard_logdir: Text | None = Field(
        None, description="Specifies the folder whose logs TensorBoard shows; it must be on a volume or claim."
    )
    preemptible: Flag | None = Field(
        None,
        description=(
            "Specifies that the workload may use GPUs over the project's quota, and may be stopped without notice when "
            "others need them."
        ),
    )


class Batch(Part):
    """What only training has."""

    backoff_limit: Integer | None = Field(
        None, description="Specifies how many times a failed pod is run again before the job fails; 6 by default."
    )
    completions: Integer | None = Field(
        None, description="Specifies how many pods have to succeed for the job to be complete; 1 by default."
    )
    parallelism: Integer | None = Field(
        None, description="Specifies how many pods run at the same time, at most as many as completions; 1 by default."
    )
    elastic: Flag | None = Field(
        None,
        description="Specifies that the workload runs with fewer GPUs when there are not enough. Not with parallelism.",
    )
    ttl_after_finish: Duration | None = Field(
        None,
        description=(
            "Specifies how long after its end the job is kept, for example 2m; with 0s it is deleted at once. When "
            "it is absent, it is kept until somebody deletes it."
        ),
    )
    terminate_after_preemption: Flag | None = Field(
        None, description="Specifies that the job ends when it is preempted, and does not wait for its next turn."
    )


class Mpi(Part):
    """Training and interactive work as MPI jobs."""

    mpi: Flag | None = Field(None, description="Specifies that the workload is an MPI job of several processes.")
    processes: Integer | None = Field(
        None, description="Specifies the number of MPI workers; 1 by default. It needs mpi."
    )
    slots_per_worker: Integer | None = Field(
        None, description="Specifies how many MPI ranks each worker runs; 1 by default. It needs mpi."
    )


class MpiJob(Part):
    """What only an MPI job has."""

    slots_per_worker: Integer | None = Field(None, description="How many ranks each worker runs; 1 by default.")


class PyTorchJob(Part):
    """What only a PyTorch job has."""

    min_replicas: Integer | None = Field(None, description="The fewest workers that an elastic job runs with.")
    max_replicas: Integer | None = Field(None, description="The most workers that an elastic job runs with.")


class RunPolicy(Part):
    """How the job ends."""

    clean_pod_policy: CleanPodPolicy | None = Field(
        None, description="Which pods are deleted at the job's end: Running, which is the default, All or None."
    )
    backoff_limit: Integer | None = Field(
        None, description="How many failed pods are run again before the job fails; 6 for each worker by default."
    )
    ttl_after_finish: Duration | None = Field(
        None, description="How long after its end the job is kept, for example 2m; for ever when it is absent."
    )


class Several(Part):
    """What only distributed training has."""

    workers: Integer | None = Field(
        None,
        description="Specifies the number of workers; 1 by default. A master, or for MPI a launcher, is added to them.",
    )
    mpi_job: MpiJob | None = Field(None, description="Specifies what only a job of type MPI has.")
    py_torch_job: PyTorchJob | None = Field(None, description="Specifies what only a job of type PyTorch has.")
    run_policy: RunPolicy | None = Field(None, description="Specifies how the job ends.")
    master_arguments: Text | None = Field(
        None, description="Specifies the arguments of the master, when they differ from the workers'."
    )
    master_environment: dict[str, str] | None = Field(
        None,
        description=(
            "Specifies environment variables of the master beside the workers'; a variable with the value - is taken "
            "from it."
        ),
    )
    master_gpu: Number | None = Field(
        None, description="Specifies the master's GPUs, when they differ from a worker's."
    )
    master_extended_resources: dict[str, items.ExtendedResource] | None = Field(
        None, description="Specifies amounts of resources of the master, in place of the workers'."
    )
    master_no_pvcs: Flag | None = Field(None, description="Specifies that the master has none of the workers' claims.")
    non_preemptible: Flag | None = Field(
        None,
        description="Specifies that the workload is never stopped for others, and counts against the project's quota.",
    )


class Serving(Part):
    """What only inference has."""

    min_scale: Integer | None = Field(None, description="Specifies the fewest replicas; 1 by default.")
    max_scale: Integer | None = Field(None, description="Specifies the most replicas, where the cluster scales them.")
    metric: Metric | None = Field(
        None,
        description=(
            "Specifies what replicas are added and taken away by: cpu-utilization, latency, throughput, concurrency, "
            "gpu-utilization or custom."
        ),
    )
    metric_name: Text | None = Field(
        None, description="Specifies the exact name of the metric, which wins over metric."
    )
    target: Number | None = Field(None, description="Specifies the value of the metric that one replica is to have.")
    autoscaler_class: Text | None = Field(
        None, alias="class", description="Specifies the Knative class of the autoscaler."
    )
    is_private_service_url: Flag | None = Field(
        None, description="Specifies that the service is reached from inside the cluster only."
    )


class Interactive(Common, Restrictable, Notebook, Mpi):
    """An interactive workload."""


class Training(Common, Restrictable, Batch, Mpi):
    """A training workload."""


class Distributed(Common, Restrictable, Several):
    """A distributed training workload."""


class Inference(Common, Serving):
    """An inference workload."""
