"""The status of a workload resource: what became of the submission. Written by us."""

from __future__ import annotations

from pydantic import Field

from extender.wire.resources.parts import Part

MOST_VALUES = 5000
MOST_EVENTS = 100
MOST_PODS = 100
_MOST_RESOURCES = 5000


class ResolvedValue(Part):
    """One value of the submission, and whose it is."""

    parameter: str = Field(description="The parameter, with the label of the item after a dot where it has items.")
    value: str = Field("", description="The value as JSON.")
    origin: str = Field("", description="Whose value it is: workload, base or policy.")


class SubmissionEvent(Part):
    """What happened to the submission."""

    time: str = Field("", description="When it happened.", json_schema_extra={"format": "date-time"})
    type: str = Field("", description="Info, Warning or Error.")
    message: str = Field("", description="What happened, as a sentence.")


class CreatedResource(Part):
    """One object that was created for the workload."""

    kind: str = Field("", description="The kind of the object.")
    version: str = Field("", description="The group and version of the object.")
    namespace: str = Field("", description="The namespace of the object.")
    name: str = Field("", description="The name of the object.")


class CreatedPod(Part):
    """One pod of the job."""

    name: str = Field("", description="The name of the pod.")
    status: str = Field("", description="The state of the pod in one word.")
    node: str = Field("", description="The node that it runs on, and its address.")
    created: str = Field("", description="When it was created.", json_schema_extra={"format": "date-time"})


class CreatedJob(Part):
    """The job, or what else runs the pods."""

    name: str = Field("", description="The name of the job.")
    namespace: str = Field("", description="The namespace of the job.")
    kind: str = Field("", description="The kind of the object that runs the pods.")
    version: str = Field("", description="The group and version of that object.")
    type: str = Field("", description="Interactive, Interactive-Preemptible, Train, Inference or Distributed.")
    status: str = Field("", description="The state of the job in one word, such as Pending, Running or Succeeded.")
    running_pods: int = Field(0, description="The number of pods that run.")
    pending_pods: int = Field(0, description="The number of pods that wait.")
    pods: list[CreatedPod] = Field(
        default_factory=list, max_length=MOST_PODS, description="The pods of the job, the first 100 of them."
    )


class WorkloadStatus(Part):
    """What became of the submission."""

    phase: str = Field(
        "",
        description=(
            "Submitted when every resource was created, Failed when one could not be: the events say why. A template "
            "has none."
        ),
    )
    observed_generation: int = Field(0, description="The generation of the spec that this status is about.")
    base_workload: str = Field("", description="The workload, as namespace/name, whose values were the defaults.")
    policy: str = Field("", description="The policy, as namespace/name, that gave defaults and rules.")
    values: list[ResolvedValue] = Field(
        default_factory=list,
        max_length=MOST_VALUES,
        description="The values set of the submission, each value with its origin.",
    )
    events: list[SubmissionEvent] = Field(
        default_factory=list, max_length=MOST_EVENTS + 1, description="What happened to the submission."
    )
    created_resources: list[CreatedResource] = Field(
        default_factory=list,
        max_length=_MOST_RESOURCES,
        description="The objects that were created for the workload.",
    )
    job: CreatedJob | None = Field(None, description="The job of the workload and its pods.")
