"""RunaiJob: a batch job whose pods we make ourselves (docs/decisions/0008-workloads.md)."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from extender.model.names import RUN_AI_GROUP
from extender.wire.resources.parts import (
    AGE,
    Column,
    Conditions,
    Members,
    Metadata,
    Part,
    Resource,
    ResourceType,
    Seconds,
)

_OPEN: dict[str, Any] = {"x-kubernetes-preserve-unknown-fields": True}


class Open(Part):
    """A part with more fields than the schema names: the API server checks those when the pods are made."""

    model_config = ConfigDict(**{**Part.model_config, "json_schema_extra": _OPEN})


class Container(Open):
    """One container of the pods."""

    name: Annotated[str, Field(min_length=1, max_length=63)] = Field(
        description="The name of the container, unique in the pod."
    )


class PodSpec(Open):
    """What the pods are to run, as in a Pod's `spec`."""

    containers: Annotated[list[Container], Field(min_length=1, max_length=256)] = Field(
        description="The containers of each pod, as in a Pod."
    )
    restart_policy: Literal["Never", "OnFailure"] = Field(
        "Never",
        description=(
            "With Never, a container that fails ends its pod, and another pod follows. With OnFailure the container is "
            "started again in the same pod; such restarts count against backoffLimit."
        ),
    )


class TemplateMetadata(Open):
    """Labels and annotations for the pods."""

    labels: dict[str, str] = Field(default_factory=dict, description="Labels for the pods.")
    annotations: dict[str, str] = Field(default_factory=dict, description="Annotations for the pods.")


class PodTemplate(Open):
    """The pods, as in a Job's `template`."""

    metadata: TemplateMetadata = Field(
        default_factory=TemplateMetadata, description="Labels and annotations for the pods."
    )
    spec: PodSpec = Field(description="What the pods are to run, as in a Pod's spec.")


class LabelSelector(Open):
    """A label selector, as in other Kubernetes objects."""


class RunaiJobSpec(Part):
    """What is to be done, as in a Kubernetes Job."""

    parallelism: Members | None = Field(
        None,
        description=(
            "The number of pods that run at the same time at most. When it is absent, that is 1; with 0 no pod runs."
        ),
    )
    completions: Members | None = Field(
        None,
        description=(
            "The number of pods that have to succeed, each with an index of its own, from 0. When it is absent and "
            "parallelism is given, the pods share the work among themselves: one success, and no other pod starts. "
            "When both are absent, it is 1."
        ),
    )
    active_deadline_seconds: Seconds | None = Field(
        None,
        description=(
            "When the job has not ended so many seconds after it started, its pods are deleted and it has failed. The "
            "time begins anew when a suspended job is resumed."
        ),
    )
    backoff_limit: Members = Field(
        6,
        description=(
            "The number of pods that may fail before the job has failed. Another pod follows after 10 seconds, then "
            "20, and so on up to 6 minutes. Pods that were evicted or deleted do not count."
        ),
    )
    selector: LabelSelector | None = Field(
        None,
        description="It has no effect, and is here for manifests of Jobs: pods are found by the label run.ai/job-uid.",
    )
    manual_selector: bool | None = Field(None, description="It has no effect, as selector has none.")
    template: PodTemplate = Field(description="The pods are made from this template.")
    ttl_seconds_after_finished: Seconds | None = Field(
        None,
        description=(
            "So many seconds after its end the job is deleted, with its pods; with 0 at once. When it is absent, it "
            "stays."
        ),
    )
    suspend: bool = Field(
        False,
        description=(
            "While it is true no pod runs: those that do are deleted. What has succeeded and failed stays counted; "
            "startTime and the deadline begin anew when the job is resumed."
        ),
    )


class RunaiJobStatus(Part):
    """How far the job is, written by us."""

    conditions: Conditions = Field(
        default_factory=list,
        description=(
            "The conditions say how the job stands: Suspended, and at its end Complete or Failed, with the reason, "
            "such as BackoffLimitExceeded, DeadlineExceeded or Preempted."
        ),
    )
    start_time: str = Field(
        "",
        description="When the job started, or was last resumed. It is absent while the job is suspended.",
        json_schema_extra={"format": "date-time"},
    )
    completion_time: str = Field(
        "",
        description="When the job completed. It is absent when it has failed.",
        json_schema_extra={"format": "date-time"},
    )
    active: Members = Field(0, description="The number of pods that wait or run.")
    succeeded: Members = Field(0, description="The number of pods that succeeded.")
    failed: Members = Field(0, description="The number of pods that failed.")
    completed_indexes: str = Field(
        "",
        description='The indexes whose pods have succeeded, for example "0-3,7". They are not run again.',
    )
    attempts: dict[str, Members] = Field(
        default_factory=dict,
        description=(
            "How many pods of an index have come to their end, by index, while it has none that succeeded. The next "
            "pod of the index is numbered from there."
        ),
    )


class RunaiJobMetadata(Metadata):
    # The name is a label of the pods.
    name: str = Field("", max_length=63, pattern="^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")


class RunaiJob(Resource):
    """A RunaiJob runs pods until so many of them have succeeded, as a Kubernetes Job does. Its pods are called
    `<job>-<index>-<attempt>`. A pod that is evicted does not count as failed: another follows, or, with the annotation
    `runai/terminate-after-preemption: "true"`, the job ends.
    """

    resource: ClassVar[ResourceType] = ResourceType(
        group=RUN_AI_GROUP,
        version="v1",
        kind="RunaiJob",
        plural="runaijobs",
        short_names=("rj",),
        namespaced=True,
        columns=(
            Column("Status", "string", ".metadata.annotations.runai-calculated-status", "The state in one word."),
            Column("Completions", "integer", ".spec.completions", "How many pods have to succeed."),
            Column("Succeeded", "integer", ".status.succeeded", "How many pods have succeeded."),
            Column("Active", "integer", ".status.active", "How many pods wait or run."),
            AGE,
        ),
    )

    metadata: RunaiJobMetadata = Field(default_factory=RunaiJobMetadata)
    spec: RunaiJobSpec = Field(description="What is to be done, as in a Kubernetes Job.")
    status: RunaiJobStatus = Field(
        default_factory=RunaiJobStatus,
        description="How far the job is. It is written by us and has no effect when edited.",
    )
