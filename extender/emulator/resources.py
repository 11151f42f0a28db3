"""Which resources the API serves: one table row a built-in resource, and the registry that CRDs add to.

A row says everything that routing, discovery, storage and printing need to know; code elsewhere asks the
`Resource` and does not switch on kinds. Rows of one *storage* (`core` and `events.k8s.io` events, or the versions
of one CRD) share objects: what is stored has no `apiVersion` and `kind`, those are put in front when it is served.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

JSON = dict[str, Any]

VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


class Storage(NamedTuple):
    """Where objects are kept: the API group ("" is core) and the plural; the version plays no part."""

    group: str
    plural: str


@dataclass(frozen=True, slots=True, eq=False)
class Resource:
    """One served resource of one version.

    subresources: names behind the object's own path, e.g. {"status", "binding"}.
    model:        class name in `kubernetes_asyncio.client.models` (built-in kinds only).
    schema:       the OpenAPI v3 schema of the version (custom resources only).
    columns:      `additionalPrinterColumns` of the version (custom resources only).
    generation:   whether `metadata.generation` counts changes of the desired state.
    """

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool
    short_names: tuple[str, ...] = ()
    subresources: frozenset[str] = frozenset()
    categories: tuple[str, ...] = ()
    generation: bool = False
    model: str | None = None
    singular: str = ""
    list_kind: str = ""
    schema: JSON | None = None
    columns: tuple[JSON, ...] = ()
    storage: Storage = field(init=False)
    api_version: str = field(init=False)
    head: bytes = field(init=False)

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        group = "" if (self.group, self.plural) == ("events.k8s.io", "events") else self.group
        set_(self, "storage", Storage(group, self.plural))
        set_(self, "api_version", f"{self.group}/{self.version}" if self.group else self.version)
        set_(self, "head", f'{{"kind":"{self.kind}","apiVersion":"{self.api_version}",'.encode())
        set_(self, "singular", self.singular or self.kind.lower())
        set_(self, "list_kind", self.list_kind or f"{self.kind}List")

    @property
    def custom(self) -> bool:
        """Whether a CustomResourceDefinition made it."""
        return self.model is None

    @property
    def qualified(self) -> str:
        """`pods` or `jobs.batch`: how error messages name the resource."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


# group/version → rows of "plural Kind model flags subresources shortnames", where flags are
# n = namespaced, g = counts generations, a = shown by `kubectl get all`, "-" = nothing.
_TABLE = {
    "v1": """
        namespaces             Namespace             V1Namespace             -   status,finalize ns
        nodes                  Node                  V1Node                  -   status no
        pods                   Pod                   V1Pod                   nga status,binding,eviction po
        services               Service               V1Service               na  status svc
        configmaps             ConfigMap             V1ConfigMap             n   - cm
        secrets                Secret                V1Secret                n   - -
        events                 Event                 CoreV1Event             n   - ev
        serviceaccounts        ServiceAccount        V1ServiceAccount        n   - sa
        persistentvolumeclaims PersistentVolumeClaim V1PersistentVolumeClaim n   status pvc
        persistentvolumes      PersistentVolume      V1PersistentVolume      -   status pv
        resourcequotas         ResourceQuota         V1ResourceQuota         n   status quota
        limitranges            LimitRange            V1LimitRange            n   - limits
        endpoints              Endpoints             V1Endpoints             n   - ep
    """,
    "apps/v1": """
        deployments            Deployment            V1Deployment            nga status,scale deploy
        statefulsets           StatefulSet           V1StatefulSet           nga status,scale sts
        replicasets            ReplicaSet            V1ReplicaSet            nga status,scale rs
        daemonsets             DaemonSet             V1DaemonSet             nga status ds
        controllerrevisions    ControllerRevision    V1ControllerRevision    n   - -
    """,
    "batch/v1": """
        jobs                   Job                   V1Job                   nga status -
        cronjobs               CronJob               V1CronJob               nga status cj
    """,
    "scheduling.k8s.io/v1": """
        priorityclasses        PriorityClass         V1PriorityClass         g   - pc
    """,
    "coordination.k8s.io/v1": """
        leases                 Lease                 V1Lease                 n   - -
    """,
    "policy/v1": """
        poddisruptionbudgets   PodDisruptionBudget   V1PodDisruptionBudget   ng  status pdb
    """,
    "events.k8s.io/v1": """
        events                 Event                 EventsV1Event           n   - ev
    """,
    "rbac.authorization.k8s.io/v1": """
        roles                  Role                  V1Role                  n   - -
        rolebindings           RoleBinding           V1RoleBinding           n   - -
        clusterroles           ClusterRole           V1ClusterRole           -   - -
        clusterrolebindings    ClusterRoleBinding    V1ClusterRoleBinding    -   - -
    """,
    "storage.k8s.io/v1": """
        storageclasses         StorageClass          V1StorageClass          -   - sc
    """,
    "networking.k8s.io/v1": """
        ingresses              Ingress               V1Ingress               ng  status ing
        networkpolicies        NetworkPolicy         V1NetworkPolicy         ng  - netpol
    """,
    "admissionregistration.k8s.io/v1": """
        mutatingwebhookconfigurations   MutatingWebhookConfiguration   V1MutatingWebhookConfiguration   g - -
        validatingwebhookconfigurations ValidatingWebhookConfiguration V1ValidatingWebhookConfiguration g - -
    """,
    "apiextensions.k8s.io/v1": """
        customresourcedefinitions CustomResourceDefinition V1CustomResourceDefinition g status crd,crds
    """,
}


def built_in() -> Iterator[Resource]:
    """The rows of the table, in the order in which discovery lists them."""
    for group_version, rows in _TABLE.items():
        group, _, version = group_version.rpartition("/")
        for row in rows.strip().splitlines():
            plural, kind, model, flags, subresources, short = row.split()
            yield Resource(
                group=group,
                version=version,
                plural=plural,
                kind=kind,
                model=model,
                namespaced="n" in flags,
                generation="g" in flags,
                categories=("all",) if "a" in flags else (),
                subresources=frozenset(subresources.split(",")) - {"-"},
                short_names=() if short == "-" else tuple(short.split(",")),
            )


class Registry:
    """The resources served now. Built-in ones stay; `serve` and `withdraw` follow the CRD objects."""

    def __init__(self) -> None:
        self._by_path: dict[tuple[str, str, str], Resource] = {}
        self._by_kind: dict[tuple[str, str], Resource] = {}
        # Counts changes, so that documents derived from the whole registry can be cached.
        self.revision = 0
        for resource in built_in():
            self.serve(resource)

    def serve(self, resource: Resource) -> None:
        """Add a resource, or replace the one of the same group, version and plural."""
        self._by_path[resource.group, resource.version, resource.plural] = resource
        self._by_kind[resource.api_version, resource.kind] = resource
        self.revision += 1

    def withdraw(self, storage: Storage) -> None:
        """Stop serving every version of `storage`."""
        for resource in [r for r in self if r.storage == storage]:
            del self._by_path[resource.group, resource.version, resource.plural]
            self._by_kind.pop((resource.api_version, resource.kind), None)
        self.revision += 1

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        """The resource behind a path, or None."""
        return self._by_path.get((group, version, plural))

    def find_kind(self, api_version: str, kind: str) -> Resource | None:
        """The resource of an object's own `apiVersion` and `kind`, or None."""
        return self._by_kind.get((api_version, kind))

    def of_storage(self, storage: Storage) -> Resource:
        """Any served version of `storage`. KeyError when none is served."""
        for resource in self:
            if resource.storage == storage:
                return resource
        raise KeyError(storage)

    def __iter__(self) -> Iterator[Resource]:
        return iter(list(self._by_path.values()))

    def groups(self) -> dict[str, dict[str, list[Resource]]]:
        """group → version → resources, in serving order; versions in kubectl's order of preference."""
        groups: dict[str, dict[str, list[Resource]]] = {}
        for resource in self:
            groups.setdefault(resource.group, {}).setdefault(resource.version, []).append(resource)
        return {
            group: dict(sorted(versions.items(), key=lambda item: version_rank(item[0]), reverse=True))
            for group, versions in groups.items()
        }


def version_rank(version: str) -> tuple[int, int, int, str]:
    """Sort key that puts v2 above v1 above v1beta2 above v1alpha1 above anything that is no version name."""
    head, _, tail = version.removeprefix("v").partition("beta")
    stage = 2 if tail else 3
    if not tail:
        head, _, tail = version.removeprefix("v").partition("alpha")
        stage = 1 if tail else 3
    if not version.startswith("v") or not head.isdigit() or (tail and not tail.isdigit()):
        return (0, 0, 0, version)
    return (stage, int(head), int(tail or 0), version)


BUILT_IN_GROUPS = frozenset(resource.group for resource in built_in())

NAMESPACES = Storage("", "namespaces")
NODES = Storage("", "nodes")
PODS = Storage("", "pods")
EVENTS = Storage("", "events")
SECRETS = Storage("", "secrets")
SERVICES = Storage("", "services")
SERVICE_ACCOUNTS = Storage("", "serviceaccounts")
PERSISTENT_VOLUME_CLAIMS = Storage("", "persistentvolumeclaims")
PERSISTENT_VOLUMES = Storage("", "persistentvolumes")
DEPLOYMENTS = Storage("apps", "deployments")
STATEFUL_SETS = Storage("apps", "statefulsets")
REPLICA_SETS = Storage("apps", "replicasets")
DAEMON_SETS = Storage("apps", "daemonsets")
JOBS = Storage("batch", "jobs")
CRON_JOBS = Storage("batch", "cronjobs")
PRIORITY_CLASSES = Storage("scheduling.k8s.io", "priorityclasses")
DISRUPTION_BUDGETS = Storage("policy", "poddisruptionbudgets")
CRDS = Storage("apiextensions.k8s.io", "customresourcedefinitions")
MUTATING_WEBHOOKS = Storage("admissionregistration.k8s.io", "mutatingwebhookconfigurations")
VALIDATING_WEBHOOKS = Storage("admissionregistration.k8s.io", "validatingwebhookconfigurations")
