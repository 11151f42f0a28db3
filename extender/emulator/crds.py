"""CustomResourceDefinitions: their own rules, and the resources that they make."""

from __future__ import annotations

from collections.abc import Iterator

from extender.emulator.resources import BUILT_IN_GROUPS, CRDS, JSON, Registry, Resource, Storage
from extender.emulator.status import Cause, forbidden_field, invalid_value, not_supported, required
from extender.emulator.store import DELETED, Event
from extender.emulator.times import now_text


def set_defaults(crd: JSON) -> None:
    """Names that follow from the kind, and what a conversion leaves out."""
    spec = crd.setdefault("spec", {})
    names = spec.setdefault("names", {})
    kind = names.get("kind", "")
    names.setdefault("singular", kind.lower())
    names.setdefault("listKind", f"{kind}List" if kind else "")
    conversion = spec.setdefault("conversion", {"strategy": "None"})
    service = ((conversion.get("webhook") or {}).get("clientConfig") or {}).get("service")
    if service is not None:
        service.setdefault("port", 443)


def prepare(crd: JSON) -> None:
    """The status of an accepted definition: established at once, there is no other server to wait for."""
    now = now_text()
    crd["status"] = {
        "conditions": [
            {
                "lastTransitionTime": now,
                "message": "no conflicts found",
                "reason": "NoConflicts",
                "status": "True",
                "type": "NamesAccepted",
            },
            {
                "lastTransitionTime": now,
                "message": "the initial names have been accepted",
                "reason": "InitialNamesAccepted",
                "status": "True",
                "type": "Established",
            },
        ],
        "acceptedNames": crd["spec"]["names"],
        "storedVersions": [v.get("name", "") for v in crd["spec"].get("versions") or () if v.get("storage")],
    }


def validate(crd: JSON) -> Iterator[Cause]:
    """The broken rules of a definition."""
    spec, name = crd["spec"], crd["metadata"].get("name", "")
    names, group = spec["names"], spec.get("group", "")
    for field in ("plural", "kind"):
        if not names.get(field):
            yield required(f"spec.names.{field}")
    if not group:
        yield required("spec.group")
    elif name != f"{names.get('plural')}.{group}":
        detail = 'must be spec.names.plural+"."+spec.group'
        yield invalid_value("metadata.name", name, detail)
    if group in BUILT_IN_GROUPS:
        yield invalid_value("spec.group", group, "is served by the API server itself")
    if spec.get("scope") not in ("Namespaced", "Cluster"):
        yield required("spec.scope")
    yield from _validate_conversion(spec["conversion"])
    yield from _validate_versions(spec.get("versions") or [])


def _validate_conversion(conversion: JSON) -> Iterator[Cause]:
    path, strategy = "spec.conversion", conversion.get("strategy")
    if strategy not in ("None", "Webhook"):
        yield not_supported(f"{path}.strategy", strategy, ("None", "Webhook"))
    webhook = conversion.get("webhook") or {}
    if strategy == "None" and webhook:
        detail = "should not be set when strategy is not set to Webhook"
        yield forbidden_field(f"{path}.webhook", detail)
    elif strategy == "Webhook":
        client = webhook.get("clientConfig")
        if client is None:
            yield required(f"{path}.webhook.clientConfig", "required when strategy is set to Webhook")
        elif bool(client.get("url")) == bool(client.get("service")):
            yield required(f"{path}.webhook.clientConfig", "exactly one of url or service is required")
        if not webhook.get("conversionReviewVersions"):
            yield required(f"{path}.webhook.conversionReviewVersions")


def _validate_versions(versions: list[JSON]) -> Iterator[Cause]:
    if sum(bool(version.get("storage")) for version in versions) != 1:
        yield invalid_value("spec.versions", None, "must have exactly one version marked as storage version")
    for position, version in enumerate(versions):
        path = f"spec.versions[{position}]"
        if not version.get("name"):
            yield required(f"{path}.name")
        for number, column in enumerate(version.get("additionalPrinterColumns") or ()):
            for field in ("name", "type", "jsonPath"):
                if not column.get(field):
                    yield required(f"{path}.additionalPrinterColumns[{number}].{field}")
        root = (version.get("schema") or {}).get("openAPIV3Schema")
        if not root:
            yield required(f"{path}.schema.openAPIV3Schema", "schemas are required")
        else:
            yield from _validate_schema(root, f"{path}.schema.openAPIV3Schema")


def _validate_schema(schema: JSON, path: str) -> Iterator[Cause]:
    """A structural schema names the type of everything that it specifies."""
    free = schema.get("x-kubernetes-int-or-string") or schema.get("x-kubernetes-preserve-unknown-fields")
    if not schema.get("type") and not free:
        yield required(f"{path}.type", "must not be empty for specified object fields")
    if schema.get("type") == "array" and not isinstance(schema.get("items"), dict):
        yield required(f"{path}.items", "must be specified")
    if schema.get("properties") and schema.get("additionalProperties"):
        yield Cause(
            f"{path}.additionalProperties",
            "FieldValueForbidden",
            "Forbidden: additionalProperties and properties are mutual exclusive",
        )
    for name, below in (schema.get("properties") or {}).items():
        yield from _validate_schema(below, f"{path}.properties[{name}]")
    for field in ("items", "additionalProperties"):
        if isinstance(schema.get(field), dict):
            yield from _validate_schema(schema[field], f"{path}.{field}")


def validate_update(new: JSON, old: JSON) -> Iterator[Cause]:
    """Group, scope, kind and plural of a definition stay."""
    after, before = new["spec"], old["spec"]
    for path in (("group",), ("scope",), ("names", "kind"), ("names", "plural")):
        mine, theirs = after, before
        for step in path:
            mine, theirs = mine.get(step), theirs.get(step)
        if mine != theirs:
            yield invalid_value(f"spec.{'.'.join(path)}", mine, "field is immutable")


def resources_of(crd: JSON) -> Iterator[Resource]:
    """The resources that a stored definition makes, one a served version."""
    spec, names = crd["spec"], crd["spec"]["names"]
    for version in spec["versions"]:
        if not version.get("served"):
            continue
        yield Resource(
            group=spec["group"],
            version=version["name"],
            plural=names["plural"],
            kind=names["kind"],
            list_kind=names.get("listKind", ""),
            singular=names.get("singular", ""),
            short_names=tuple(names.get("shortNames") or ()),
            categories=tuple(names.get("categories") or ()),
            namespaced=spec["scope"] == "Namespaced",
            subresources=frozenset(version.get("subresources") or {}) & {"status"},
            generation=True,
            schema=version["schema"]["openAPIV3Schema"],
            columns=tuple(version.get("additionalPrinterColumns") or ()),
        )


def follow(registry: Registry, event: Event) -> None:
    """Serve what a changed definition says, or stop serving it: a store listener."""
    if event.record.storage != CRDS:
        return
    spec = event.record.obj["spec"]
    registry.withdraw(Storage(spec["group"], spec["names"]["plural"]))
    if event.type != DELETED:
        for resource in resources_of(event.record.obj):
            registry.serve(resource)
