"""Per-kind behaviour: which functions run when an object of a kind is created or changed.

A kind without an entry is stored as it comes. The order of the steps is the API server's: defaults, built-in
admission, (webhooks,) preparation of server-owned fields, validation.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from extender.emulator import crds, pods, resources, workloads
from extender.emulator.resources import JSON, Storage
from extender.emulator.status import Cause, forbidden_field, invalid_value, not_supported, required
from extender.emulator.store import Store


def _nothing(_obj: JSON) -> None:
    return None


def _inherit_nothing(_new: JSON, _old: JSON) -> None:
    return None


def _no_admission(_obj: JSON, _store: Store) -> None:
    return None


def _valid(_obj: JSON) -> Iterator[Cause]:
    return iter(())


def _valid_update(_new: JSON, _old: JSON) -> Iterator[Cause]:
    return iter(())


@dataclass(frozen=True, slots=True)
class Kind:
    """The steps of one kind; every step works on an object that it may change and that has no apiVersion and kind.

    default:         fill in what the client left out; runs again after webhooks, so it must be idempotent.
    inherit:         on a change (new, old), keep what admission has decided and the client left out.
    admit:           built-in admission on create; raises pods.AdmissionError.
    prepare:         set what the server owns on create (status, generated selectors).
    validate:        the broken rules of the object alone.
    validate_update: the broken rules of a change (new, old); the desired state only.
    """

    default: Callable[[JSON], None] = _nothing
    inherit: Callable[[JSON, JSON], None] = _inherit_nothing
    admit: Callable[[JSON, Store], None] = _no_admission
    prepare: Callable[[JSON], None] = _nothing
    validate: Callable[[JSON], Iterator[Cause]] = _valid
    validate_update: Callable[[JSON, JSON], Iterator[Cause]] = _valid_update


def _empty_status(obj: JSON) -> None:
    obj["status"] = {}


def _default_namespace(namespace: JSON) -> None:
    labels = namespace["metadata"].setdefault("labels", {})
    labels["kubernetes.io/metadata.name"] = namespace["metadata"].get("name", "")


def _prepare_namespace(namespace: JSON) -> None:
    namespace["spec"] = {"finalizers": ["kubernetes"]}
    namespace["status"] = {"phase": "Active"}
    # The name may have been generated after the defaults ran.
    _default_namespace(namespace)


def _inherit_namespace(new: JSON, old: JSON) -> None:
    # Only the finalize subresource changes a namespace's spec.
    new["spec"] = old["spec"]


def _default_service(service: JSON) -> None:
    spec = service.setdefault("spec", {})
    spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    if spec["type"] != "ExternalName":
        spec.setdefault("internalTrafficPolicy", "Cluster")
        spec.setdefault("ipFamilies", ["IPv4"])
        spec.setdefault("ipFamilyPolicy", "SingleStack")
    for port in spec.get("ports") or ():
        port.setdefault("protocol", "TCP")
        port.setdefault("targetPort", port.get("port"))


def _prepare_service(service: JSON) -> None:
    service["status"] = {"loadBalancer": {}}
    spec = service["spec"]
    if spec["type"] != "ExternalName":
        if not spec.get("clusterIP"):
            spec["clusterIP"] = _service_address(service["metadata"]["uid"])
        spec["clusterIPs"] = [spec["clusterIP"]]


def _inherit_service(new: JSON, old: JSON) -> None:
    """A file that is applied again need not know the address."""
    for field in ("clusterIP", "clusterIPs"):
        if field in old["spec"] and new["spec"]["type"] != "ExternalName":
            new["spec"].setdefault(field, old["spec"][field])


def _service_address(uid: str) -> str:
    """An address of the service range made from the uid: nothing routes it, it only has to look assigned."""
    number = int(uid[:4], 16)
    return f"10.96.{number >> 8}.{number & 255 or 1}"


def _validate_service(service: JSON) -> Iterator[Cause]:
    spec = service["spec"]
    if spec["type"] not in ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName"):
        yield not_supported("spec.type", spec["type"], ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort"))
    if not spec.get("ports") and spec["type"] != "ExternalName" and spec.get("clusterIP") != "None":
        yield required("spec.ports")
    for position, port in enumerate(spec.get("ports") or ()):
        if not 0 < port.get("port", 0) < 65536:
            detail = "must be between 1 and 65535, inclusive"
            yield invalid_value(f"spec.ports[{position}].port", port.get("port", 0), detail)
        if len(spec["ports"]) > 1 and not port.get("name"):
            yield required(f"spec.ports[{position}].name")


def _default_secret(secret: JSON) -> None:
    for key, text in (secret.pop("stringData", None) or {}).items():
        secret.setdefault("data", {})[key] = base64.b64encode(text.encode()).decode()
    secret.setdefault("type", "Opaque")


def _validate_data_update(new: JSON, old: JSON) -> Iterator[Cause]:
    if old.get("immutable"):
        for field in ("immutable", "data", "binaryData"):
            if new.get(field) != old.get(field):
                yield forbidden_field(field, "field is immutable when `immutable` is set")


def _default_claim(claim: JSON) -> None:
    claim.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")


def _prepare_claim(claim: JSON) -> None:
    claim["status"] = {"phase": "Pending"}


def _validate_claim(claim: JSON) -> Iterator[Cause]:
    spec = claim["spec"]
    if not spec.get("accessModes"):
        yield required("spec.accessModes", "at least 1 access mode is required")
    if not ((spec.get("resources") or {}).get("requests") or {}).get("storage"):
        yield required("spec.resources[storage]")


def _default_volume(volume: JSON) -> None:
    spec = volume.setdefault("spec", {})
    spec.setdefault("persistentVolumeReclaimPolicy", "Retain")
    spec.setdefault("volumeMode", "Filesystem")


def _prepare_volume(volume: JSON) -> None:
    volume["status"] = {"phase": "Pending"}


def _default_storage_class(storage_class: JSON) -> None:
    storage_class.setdefault("reclaimPolicy", "Delete")
    storage_class.setdefault("volumeBindingMode", "Immediate")


_HIGHEST_USER_PRIORITY = 1_000_000_000


def _default_priority_class(class_: JSON) -> None:
    class_.setdefault("preemptionPolicy", "PreemptLowerPriority")
    class_.setdefault("value", 0)


def _validate_priority_class(class_: JSON) -> Iterator[Cause]:
    name, value = class_["metadata"].get("name", ""), class_["value"]
    if value > _HIGHEST_USER_PRIORITY and not name.startswith("system-"):
        detail = f"maximum allowed value of a user defined priority is {_HIGHEST_USER_PRIORITY}"
        yield forbidden_field("value", detail)


def _validate_priority_class_update(new: JSON, old: JSON) -> Iterator[Cause]:
    for field, what in (("value", "value"), ("preemptionPolicy", "preemptionPolicy")):
        if new.get(field) != old.get(field):
            yield forbidden_field(what, "may not be changed in an update.")


def _validate_budget(budget: JSON) -> Iterator[Cause]:
    spec = budget.get("spec") or {}
    if "minAvailable" in spec and "maxUnavailable" in spec:
        yield invalid_value("spec", {}, "minAvailable and maxUnavailable cannot be both set")


def _validate_event(event: JSON) -> Iterator[Cause]:
    namespace = event["metadata"].get("namespace", "")
    involved = (event.get("involvedObject") or {}).get("namespace", "")
    # Events about cluster-scoped objects live in "default".
    if involved != namespace and not (involved == "" and namespace in ("default", "kube-system")):
        yield invalid_value("involvedObject.namespace", involved, "does not match event.namespace")


def _default_webhooks(configuration: JSON) -> None:
    for webhook in configuration.get("webhooks") or ():
        webhook.setdefault("failurePolicy", "Fail")
        webhook.setdefault("matchPolicy", "Equivalent")
        webhook.setdefault("namespaceSelector", {})
        webhook.setdefault("objectSelector", {})
        webhook.setdefault("timeoutSeconds", 10)
        for rule in webhook.get("rules") or ():
            rule.setdefault("scope", "*")
        service = (webhook.get("clientConfig") or {}).get("service")
        if service is not None:
            service.setdefault("port", 443)


def _default_mutating_webhooks(configuration: JSON) -> None:
    _default_webhooks(configuration)
    for webhook in configuration.get("webhooks") or ():
        webhook.setdefault("reinvocationPolicy", "Never")


def _validate_webhooks(configuration: JSON) -> Iterator[Cause]:
    for position, webhook in enumerate(configuration.get("webhooks") or ()):
        path = f"webhooks[{position}]"
        client = webhook.get("clientConfig") or {}
        if ("url" in client) == ("service" in client):
            yield required(f"{path}.clientConfig", "exactly one of url or service is required")
        if webhook.get("sideEffects") not in ("None", "NoneOnDryRun"):
            yield not_supported(f"{path}.sideEffects", webhook.get("sideEffects"), ("None", "NoneOnDryRun"))
        if not webhook.get("admissionReviewVersions"):
            yield required(f"{path}.admissionReviewVersions", "must specify one of v1, v1beta1")
        if not 1 <= webhook["timeoutSeconds"] <= 30:
            detail = "the timeout value must be between 1 and 30 seconds"
            yield invalid_value(f"{path}.timeoutSeconds", webhook["timeoutSeconds"], detail)


_KINDS: dict[Storage, Kind] = {
    resources.PODS: Kind(
        pods.set_defaults, pods.inherit, pods.admit, pods.prepare, pods.validate, pods.validate_update
    ),
    resources.JOBS: Kind(
        workloads.default_job,
        prepare=workloads.prepare_job,
        validate=workloads.validate_job,
        validate_update=workloads.validate_job_update,
    ),
    resources.CRON_JOBS: Kind(workloads.default_cron_job, prepare=_empty_status, validate=workloads.validate_cron_job),
    resources.DEPLOYMENTS: Kind(
        workloads.default_deployment,
        prepare=_empty_status,
        validate=workloads.validate_replicated,
        validate_update=workloads.validate_selector_update,
    ),
    resources.REPLICA_SETS: Kind(
        workloads.default_replica_set,
        prepare=_empty_status,
        validate=workloads.validate_replicated,
        validate_update=workloads.validate_selector_update,
    ),
    resources.STATEFUL_SETS: Kind(
        workloads.default_stateful_set,
        prepare=_empty_status,
        validate=workloads.validate_replicated,
        validate_update=workloads.validate_stateful_set_update,
    ),
    resources.DAEMON_SETS: Kind(
        workloads.default_daemon_set,
        prepare=_empty_status,
        validate=workloads.validate_replicated,
        validate_update=workloads.validate_selector_update,
    ),
    resources.NAMESPACES: Kind(_default_namespace, _inherit_namespace, prepare=_prepare_namespace),
    resources.SERVICES: Kind(_default_service, _inherit_service, prepare=_prepare_service, validate=_validate_service),
    resources.SECRETS: Kind(_default_secret, validate_update=_validate_data_update),
    Storage("", "configmaps"): Kind(validate_update=_validate_data_update),
    resources.PERSISTENT_VOLUME_CLAIMS: Kind(_default_claim, prepare=_prepare_claim, validate=_validate_claim),
    resources.PERSISTENT_VOLUMES: Kind(_default_volume, prepare=_prepare_volume),
    Storage("storage.k8s.io", "storageclasses"): Kind(_default_storage_class),
    resources.PRIORITY_CLASSES: Kind(
        _default_priority_class,
        validate=_validate_priority_class,
        validate_update=_validate_priority_class_update,
    ),
    resources.DISRUPTION_BUDGETS: Kind(prepare=_empty_status, validate=_validate_budget),
    resources.EVENTS: Kind(validate=_validate_event),
    resources.MUTATING_WEBHOOKS: Kind(_default_mutating_webhooks, validate=_validate_webhooks),
    resources.VALIDATING_WEBHOOKS: Kind(_default_webhooks, validate=_validate_webhooks),
    resources.CRDS: Kind(
        crds.set_defaults, prepare=crds.prepare, validate=crds.validate, validate_update=crds.validate_update
    ),
}

_DEFAULT = Kind()


def of(storage: Storage) -> Kind:
    """The steps of a storage; the same do-nothing `Kind` for all that have no entry."""
    return _KINDS.get(storage, _DEFAULT)
