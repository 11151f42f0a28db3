"""What no workload may ask for, whatever the policy: behaviour.md 4.3, on the values set.

It is about values that do not go together or that Kubernetes would not take, so that no object of a workload is
refused when others exist already. What is judged when a values set is composed (types, choices, mandatory members) is
not judged again, and a value of a wrong type is passed over. Items are judged in `item_checks`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from extender.errors import MalformedError
from extender.model import names
from extender.model.workload import Json, Origin, Type, ValuesSet, WorkloadKind
from extender.workloads import item_checks, parse, scalar, specs
from extender.workloads.naming import name_problem
from extender.workloads.rules import BLANK

JOB_TYPES = ("MPI", "PyTorch", "TF", "XGBoost")

_EXCLUSIVE = {"gpu": "gpu", "gpuMemory": "gpu-memory", "migProfile": "mig"}  # each by its name in the text
_LIMITS = {
    "gpuLimit": ("gpu", Type.QUANTITY),
    "cpuLimit": ("cpu", Type.QUANTITY),
    "memoryLimit": ("memory", Type.QUANTITY),
}
_LEAST = {
    "backoffLimit": 0,
    "completions": 1,
    "maxScale": 1,
    "minScale": 0,
    "parallelism": 1,
    "processes": 1,
    "runAsGid": 0,
    "runAsUid": 0,
    "slotsPerWorker": 1,
    "workers": 1,
}
# Each is an object or more, rendered at once: one workload must not cost the others their controller.
_MOST = {"processes": 1000, "workers": 1000}
_LEAST_MEMBERS = {
    "runPolicy": {"backoffLimit": 0},
    "mpiJob": {"slotsPerWorker": 1},
    "pyTorchJob": {"minReplicas": 1, "maxReplicas": 1},
}
# Without the second, the first has no effect: whoever gives it meant something that would not happen.
_NEEDS = {
    "podAffinitySchedulingRule": "podAffinity",
    "podAffinityTopology": "podAffinity",
    "processes": "mpi",
    "runAsGid": "runAsUser",
    "runAsUid": "runAsUser",
    "slotsPerWorker": "mpi",
}
_BY_KIND = "follows from the kind of the workload and from preemptible"
_BY_POOLS = "follows from nodePools"
_DECIDING = {
    "annotations": {
        names.GPU_FRACTION_NUM_DEVICES: "gpu and gpuMemory are a share of one device",
        names.NODE_POOLS_ANNOTATION: _BY_POOLS,
    },
    "labels": {
        names.PRIORITY_CLASS_LABEL: _BY_KIND,
        names.PREEMPTIBILITY_LABEL: _BY_KIND,
        names.NODE_POOL_LABEL: _BY_POOLS,
    },
}
_OF_JOB_TYPE = {"mpiJob": "MPI", "pyTorchJob": "PyTorch"}


def problems(kind: WorkloadKind, values: ValuesSet, *, job_type: str, node_types: tuple[str, ...]) -> tuple[str, ...]:
    """The lines about what does not go together, by path; `<path>: <sentence>` or a text of behaviour.md 4.3.

    job_type: the spec's `jobType`, "" for none. node_types: those that the project is limited to, none for all.
    """
    plain = values.plain()
    lines = [
        *_identity(plain),
        *_container(plain),
        *_gpus(plain),
        *_amounts(plain),
        *_repeats(kind, plain),
        *_distributed(kind, plain, job_type, values),
        *_scheduling(plain, node_types),
        *_without_effect(values, plain),
        *_behind_parameters(values),
        *item_checks.problems(plain),
        *_ports_missing(kind, values, plain),
    ]
    return specs.in_order(lines)


def _identity(plain: Json) -> Iterator[str]:
    name, prefix = _text(plain, "name"), _text(plain, "namePrefix")
    if name and prefix:
        yield "name: only one of name and namePrefix may be set"
    for job in (name, f"{prefix}-0" if prefix else ""):
        if job and (text := name_problem(job)):
            yield text


def _container(plain: Json) -> Iterator[str]:
    if scalar.is_blank(plain.get("image")) and plain.get("jupyter") is not True:
        yield f"image: {BLANK}"
    if plain.get("tty") is True and plain.get("stdin") is not True:
        yield "--stdin is required for containers with -t/--tty=true"
    for name in ("command", "arguments", "masterArguments"):
        yield from _refusal(name, parse.words, _text(plain, name))
    yield from _refusal("supplementalGroups", parse.supplemental_groups, _text(plain, "supplementalGroups"))
    yield from _refusal("notebookToken", parse.secret, _text(plain, "notebookToken"))


def _gpus(plain: Json) -> Iterator[str]:
    asked = [text for name, text in _EXCLUSIVE.items() if _asks(plain, name)]
    for number, one in enumerate(asked):
        for other in asked[number + 1 :]:
            yield f"unexpected to accept both {one} and {other} flag. please use only one of them"
    for name in ("gpu", "masterGpu"):
        if scalar.amount(plain.get(name), Type.NUMBER) is not None:
            yield from _refusal("", partial(parse.gpu, name=name), plain[name])
    if scalar.amount(plain.get("gpuMemory"), Type.QUANTITY) is not None:
        yield from _refusal("", parse.gpu_memory_mib, plain["gpuMemory"])
    if plain.get("elastic") is True and (_asks(plain, "gpuMemory") or _is_fraction(plain.get("gpu"))):
        yield "elastic: needs whole GPUs"


def _amounts(plain: Json) -> Iterator[str]:
    for limit, (name, type_) in _LIMITS.items():
        least, most = scalar.amount(plain.get(name), type_), scalar.amount(plain.get(limit), type_)
        for one, amount in ((name, least), (limit, most)):
            if one != "gpu" and amount is not None and amount < 0:
                yield f"{one}: must be no less than 0"
        if least is not None and most is not None and most < least:
            yield f"{limit}: must be no less than {name}, {plain[name]}"
    for name, bound in _LEAST.items():
        yield from _at_least(name, plain.get(name), bound)
    for name, bound in _MOST.items():
        number = scalar.integer(plain.get(name))
        if number is not None and number > bound:
            yield f"{name}: must be no greater than {bound}"
    for name, members in _LEAST_MEMBERS.items():
        for member, bound in members.items():
            yield from _at_least(f"{name}.{member}", specs.mapping(plain.get(name)).get(member), bound)
    run_policy = specs.mapping(plain.get("runPolicy"))
    for path, text in (("ttlAfterFinish", plain), ("runPolicy.ttlAfterFinish", run_policy)):
        duration = text.get("ttlAfterFinish")
        # Of a parameter itself the form is judged with its type.
        if isinstance(duration, str) and (text is run_policy or scalar.amount(duration, Type.DURATION) is not None):
            yield from _refusal(path, parse.seconds, duration)
    yield from _ordered("minScale", plain.get("minScale"), "maxScale", plain.get("maxScale"))
    replicas = specs.mapping(plain.get("pyTorchJob"))
    least_replicas, most_replicas = replicas.get("minReplicas"), replicas.get("maxReplicas")
    yield from _ordered("pyTorchJob.minReplicas", least_replicas, "maxReplicas", most_replicas)


def _repeats(kind: WorkloadKind, plain: Json) -> Iterator[str]:
    parallelism, completions = scalar.integer(plain.get("parallelism")), scalar.integer(plain.get("completions"))
    if parallelism is None or parallelism <= 1:
        return
    if kind is WorkloadKind.INTERACTIVE:
        yield "interactive jobs can't run with Parallelism"
    if plain.get("elastic") is True:
        yield "elasitc jobs can't run with Parallelism"
    if completions is None:
        yield (
            "if the parallelism flag is set, you must also set the number of successful pod completions required for "
            "this job to complete (use --completions <number_of_required_completions>)"
        )
    yield from _ordered("parallelism", parallelism, "completions", completions)


def _distributed(kind: WorkloadKind, plain: Json, job_type: str, values: ValuesSet) -> Iterator[str]:
    if kind is not WorkloadKind.DISTRIBUTED:
        return
    if not job_type:
        yield f"jobType: {BLANK}"
    elif job_type not in JOB_TYPES:
        yield f"jobType: {scalar.one_of(JOB_TYPES)}"
    for name, only in _OF_JOB_TYPE.items():
        if _is_written(values, name) and plain[name] and job_type in JOB_TYPES and job_type != only:
            yield f"{name}: is only for jobType {only}, not {job_type}"


def _scheduling(plain: Json, node_types: tuple[str, ...]) -> Iterator[str]:
    node_type = _text(plain, "nodeType")
    if node_type and node_types and node_type not in node_types:
        yield f"nodeType: {scalar.one_of(node_types)}"


def _without_effect(values: ValuesSet, plain: Json) -> Iterator[str]:
    for name, needed in _NEEDS.items():
        # What the policy gives to all is there for those who use it.
        if _is_written(values, name) and plain.get(needed) is not True:
            yield f"{name}: needs {needed} to be true"


def _behind_parameters(values: ValuesSet) -> Iterator[str]:
    """Marks of pods by which more could be had than the parameters, and the rules for these, allow (RUN-5676)."""
    for name, marks in _DECIDING.items():
        for label, sentence in marks.items():
            one = values.items.get(name, {}).get(label)
            # The policy may say so for all.
            if one is not None and one.origin is not Origin.POLICY:
                yield f"{name}.{label}: {sentence}"


def _ports_missing(kind: WorkloadKind, values: ValuesSet, plain: Json) -> Iterator[str]:
    if plain.get("ports"):
        return
    if kind is WorkloadKind.INFERENCE:
        yield f"ports: {BLANK}"
        return
    has_others = plain.get("exposedUrls") or plain.get("jupyter") is True or plain.get("tensorboard") is True
    if _is_written(values, "serviceType") and not has_others:
        yield "Ports must be provided when exposing a service."


def _refusal(path: str, parse_: Callable[[Any], object], value: Any) -> Iterator[str]:
    try:
        parse_(value)
    except MalformedError as error:
        yield f"{path}: {error}" if path else str(error)


def _at_least(path: str, value: Any, bound: int) -> Iterator[str]:
    number = scalar.integer(value)
    if number is not None and number < bound:
        yield f"{path}: must be no less than {bound}"


def _ordered(path: str, low: Any, name: str, high: Any) -> Iterator[str]:
    least, most = scalar.integer(low), scalar.integer(high)
    if least is not None and most is not None and least > most:
        yield f"{path}: must be no greater than {name}, {most}"


def _is_written(values: ValuesSet, name: str) -> bool:
    """Whether workload or base, and not only the policy, give the value."""
    return name in values.scalars and values.scalars[name].origin is not Origin.POLICY


def _asks(plain: Mapping[str, Any], name: str) -> bool:
    """Whether there is a value that is more than nothing: `gpu: "0"` asks for no GPU."""
    value = plain.get(name)
    return not scalar.is_blank(value) and scalar.amount(value, Type.QUANTITY) != 0


def _is_fraction(value: Any) -> bool:
    amount = scalar.amount(value, Type.NUMBER)
    return amount is not None and amount.denominator != 1


def _text(plain: Mapping[str, Any], name: str) -> str:
    value = plain.get(name)
    return value if isinstance(value, str) else ""
