"""The webhook configurations: which writes the API server asks us about, and what happens when we do not answer.

We fail closed, so what we are asked about is kept small: new pods that name this scheduler, and new pods in the
namespaces of projects, which may be forced to; and workloads with a new pod template whose pods will be ours, or that
asks for a part of a GPU as a quantity, which nobody else would take. While no replica answers, those wait for their
controllers to try again; everything else in the cluster goes on, our own Pods and the control plane first of all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from extender.model.names import GPU_RESOURCE, OWN_NAMESPACES, QUEUE_LABEL, RUN_AI_GROUP
from extender.model.workload import WorkloadKind
from extender.wire.manifests.names import ADMISSION_SERVICE, NAME, NAMESPACE, WEBHOOKS, Json, metadata
from extender.wire.workloads import VERSIONS

_TIMEOUT_S = 3  # the answer takes a millisecond; a write must not wait long for a replica that is gone
_EXEMPT = ("kube-system", *OWN_NAMESPACES)
_OURS = f"object.spec.schedulerName == '{NAME}'"
_NOT_OURS = f"object.spec.schedulerName != '{NAME}'"
_SAME_SPEC = "has(object.spec) && has(oldObject.spec) && object.spec == oldObject.spec"
# Labels, and the finalizers by which the garbage collector deletes in the foreground, do not depend on us.
_NEW_SPEC = {"name": "new-spec", "expression": f"oldObject == null || !({_SAME_SPEC})"}
_PODS = {"": ["pods"]}
_TEMPLATES = {
    "object.spec.template": (
        "templates",
        {
            "apps": ["deployments", "replicasets", "statefulsets"],
            "batch": ["jobs"],
            RUN_AI_GROUP: ["runaijobs"],
        },
    ),
    "object.spec.jobTemplate.spec.template": ("cronjobs", {"batch": ["cronjobs"]}),
}


def webhooks() -> list[Json]:
    """The mutating and the validating configuration, without `caBundle`: that is patched in once there is one."""
    ours = [{"name": "ours", "expression": _OURS}]
    others = [{"name": "not-ours-yet", "expression": _NOT_OURS}]
    in_projects = {"key": QUEUE_LABEL, "operator": "Exists"}
    return [
        _configuration(
            "Mutating",
            [
                # Once more when another webhook changed the pod after us; a pod that has everything gets no patch.
                {**_webhook("pods", "mutate", ours), "reinvocationPolicy": "IfNeeded"},
                {**_webhook("enforcement", "mutate", others, in_projects), "reinvocationPolicy": "IfNeeded"},
                *_of_templates("mutate", _concerns_us),
            ],
        ),
        _configuration(
            "Validating",
            [
                _webhook("pods", "validate", ours),
                *_of_templates("validate", _has_ours),
                # In our own namespace too: templates and policies for all projects live there.
                _webhook(
                    "workloads",
                    "validate",
                    [_NEW_SPEC],
                    resources={
                        RUN_AI_GROUP: [*(k.workloads for k in WorkloadKind), *(k.policies for k in WorkloadKind)]
                    },
                    versions=VERSIONS,
                    operations=("CREATE", "UPDATE"),
                    exempt=(),
                ),
            ],
        ),
    ]


def client_config(path: str) -> Json:
    """Where the API server finds one of our webhooks, by the last step of its path."""
    service = {"namespace": NAMESPACE, "name": ADMISSION_SERVICE, "port": 443, "path": f"/admission/{path}"}
    return {"service": service}


def _of_templates(path: str, condition: Callable[[str], Json]) -> list[Json]:
    """On UPDATE too: the same YAML is applied again, and what its author leaves open or gets wrong is so then as well.

    Only where the template itself changes: taking a finalizer off or suspending a Job must not depend on us.
    """
    return [
        _webhook(name, path, [condition(at), _is_new(at)], resources=resources, operations=("CREATE", "UPDATE"))
        for at, (name, resources) in _TEMPLATES.items()
    ]


def _concerns_us(template: str) -> Json:
    parts, ours = _has_part(template), _has_ours(template)
    return {"name": "ours-or-a-part", "expression": f"({ours['expression']}) || ({parts['expression']})"}


def _is_new(template: str) -> Json:
    old = template.replace("object.", "oldObject.", 1)
    same = f"{_exists(template)} && {_exists(old)} && {template} == {old}"
    return {"name": "new-template", "expression": f"oldObject == null || !({same})"}


def _has_part(template: str) -> Json:
    """Some container asks for a GPU quantity that is not whole; the API server writes 0.5 as 500m."""
    asked = " || ".join(
        f"(has(c.resources) && has(c.resources.{where}) && '{GPU_RESOURCE}' in c.resources.{where}"
        f" && string(c.resources.{where}['{GPU_RESOURCE}']).matches('[.m]'))"
        for where in ("limits", "requests")
    )
    some = " || ".join(
        f"(has({template}.spec.{key}) && {template}.spec.{key} != null && {template}.spec.{key}.exists(c, {asked}))"
        for key in ("containers", "initContainers")
    )
    return {"name": "asks-for-a-part", "expression": f"{_exists(template)} && ({some})"}


def _has_ours(template: str) -> Json:
    scheduler = f"{template}.spec.schedulerName"
    return {"name": "ours", "expression": f"{_exists(template)} && has({scheduler}) && {scheduler} == '{NAME}'"}


def _exists(template: str) -> str:
    """A field that is not there would make the condition fail, and with it the write."""
    steps = [*template.split("."), "spec"]
    return " && ".join(f"has({'.'.join(steps[:end])})" for end in range(2, len(steps) + 1))


def _configuration(kind: str, entries: list[Json]) -> Json:
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": f"{kind}WebhookConfiguration",
        "metadata": metadata(WEBHOOKS, namespaced=False),
        "webhooks": entries,
    }


def _webhook(
    name: str,
    path: str,
    conditions: list[Json],
    *selected: Json,
    resources: Mapping[str, list[str]] = _PODS,
    operations: Sequence[str] = ("CREATE",),
    versions: Sequence[str] = ("v1",),
    exempt: Sequence[str] = _EXEMPT,
) -> Json:
    others = {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": list(exempt)}
    return {
        "name": f"{name}.admission.run.ai",
        "admissionReviewVersions": ["v1"],
        "clientConfig": client_config(path),
        # Of pods never UPDATE: taking a gate or a finalizer off must not depend on us.
        "rules": [
            {
                "apiGroups": [group],
                "apiVersions": list(versions),
                "resources": list(plurals),
                "operations": list(operations),
                "scope": "Namespaced",
            }
            for group, plurals in resources.items()
        ],
        "namespaceSelector": {"matchExpressions": [*([others] if exempt else []), *selected]},
        "matchConditions": [dict(one) for one in conditions],
        "matchPolicy": "Equivalent",
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "timeoutSeconds": _TIMEOUT_S,
    }
