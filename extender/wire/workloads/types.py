"""What a value of a workload may be, in the schema and for the deciding code.

Numbers and quantities are texts or integers in JSON: `"0.5"`, `"500M"`, `2`. A number with a point needs quotes, as a
binary fraction is not what its author wrote. Choices are texts in the schema: letters count alike in any case, which
an enum cannot say, and the violation names the choices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema

from extender.model.workload import Type
from extender.wire.resources.parts import whole

_INT_OR_TEXT = WithJsonSchema({"x-kubernetes-int-or-string": True})


@dataclass(frozen=True, slots=True)
class Is:
    """Beside a field's type: what the deciding code takes it for.

    example: completes "such as …" in what `kubectl explain` says of the value.
    """

    type: Type
    example: str = ""
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Mandatory:
    """Marks a member that every item of the result has."""


Text = Annotated[str, Is(Type.TEXT)]
Flag = Annotated[bool, Is(Type.BOOLEAN)]
Integer = Annotated[int, BeforeValidator(whole), Is(Type.INTEGER)]
Number = Annotated[int | str, _INT_OR_TEXT, Is(Type.NUMBER, '"0.5" or "2"')]
Quantity = Annotated[int | str, _INT_OR_TEXT, Is(Type.QUANTITY, '"500M" or "2Gi"')]
Duration = Annotated[str, Is(Type.DURATION, '"90s", "5m" or "1h30m"')]
Texts = Annotated[list[str], Field(max_length=256), Is(Type.TEXTS)]


def choice(*options: str) -> Is:
    """Annotates a text that is one of these, in any case of letters."""
    return Is(Type.TEXT, " or ".join(options), options)


PullPolicy = Annotated[str, choice("Always", "IfNotPresent", "Never")]
ServiceType = Annotated[str, choice("ClusterIP", "NodePort", "LoadBalancer", "portforward", "ingress")]
MigProfile = Annotated[
    str,
    choice(
        "1g.5gb",
        "1g.10gb",
        "1g.20gb",
        "2g.10gb",
        "2g.20gb",
        "3g.20gb",
        "3g.40gb",
        "4g.20gb",
        "4g.40gb",
        "7g.40gb",
        "7g.80gb",
    ),
]
Operator = Annotated[str, choice("Equal", "Exists")]
Effect = Annotated[str, choice("NoSchedule", "PreferNoSchedule", "NoExecute")]
Metric = Annotated[str, choice("cpu-utilization", "latency", "throughput", "concurrency", "gpu-utilization", "custom")]
AffinityRule = Annotated[str, choice("hard", "soft")]
CleanPodPolicy = Annotated[str, choice("Running", "All", "None")]
