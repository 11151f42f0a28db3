"""The ConfigMap that claims a job's name for one workload, and remembers what is being submitted under it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from extender.model.workload import Origin, Value, ValuesSet
from extender.workloads.objects.references import concealed
from extender.workloads.submission import Sources

Json = dict[str, Any]

UID_LABEL = "run.ai/workload-uid"
_KEY = "submission"


@dataclass(frozen=True, slots=True)
class Claim:
    """A submission under its name.

    base, index: what the name was made of; "" and None when it was given as such.
    """

    job: str
    job_type: str
    base: str
    index: int | None
    values: ValuesSet
    sources: Sources


def write(config_map: Json, uid: str, claim: Claim) -> None:
    """Into the ConfigMap of the submission, which is named as the job. Without plain secrets: many read ConfigMaps."""
    values = concealed(claim.values)
    config_map["metadata"]["labels"][UID_LABEL] = uid
    kept = {
        "project": claim.sources.project,
        "jobType": claim.job_type,
        "base": claim.base,
        "index": claim.index,
        "baseWorkload": claim.sources.base_name,
        "policy": claim.sources.policy_name,
        "scalars": {name: _kept(one) for name, one in values.scalars.items()},
        "items": {name: {label: _kept(one) for label, one in labels.items()} for name, labels in values.items.items()},
    }
    config_map["data"][_KEY] = orjson.dumps(kept).decode()


def read(config_map: Json) -> Claim:
    """What `write` wrote, secrets concealed. Raises KeyError or ValueError when somebody changed it."""
    kept = orjson.loads(config_map["data"][_KEY])
    values = ValuesSet(
        {name: _value(one) for name, one in kept["scalars"].items()},
        {name: {label: _value(one) for label, one in labels.items()} for name, labels in kept["items"].items()},
    )
    sources = Sources(project=kept["project"], base_name=kept["baseWorkload"], policy_name=kept["policy"])
    return Claim(config_map["metadata"]["name"], kept["jobType"], kept["base"], kept["index"], values, sources)


def _kept(value: Value) -> list[Any]:
    return [value.value, str(value.origin), list(value.filled)]


def _value(kept: list[Any]) -> Value:
    return Value(kept[0], Origin(kept[1]), tuple(kept[2]))
