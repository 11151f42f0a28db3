"""The CustomResourceDefinitions that we install, from the models of `wire/resources` and `wire/workloads`.

To register a kind, add its models to MODELS. Those of one kind are its versions, in this order: first the one that
objects are stored in. Where a kind has several, the API server asks our webhook for the others: it knows the kinds of
`workloads/conversion`.
"""

from __future__ import annotations

from extender.wire import resources
from extender.wire.manifests.names import Json
from extender.wire.manifests.webhooks import client_config
from extender.wire.resources import Resource, crd

MODELS: tuple[type[Resource], ...] = resources.MODELS


def crds() -> list[Json]:
    """Every CustomResourceDefinition, sorted by name; fresh objects that the caller may change."""
    return [definition(*versions) for _, versions in sorted(_kinds().items())]


def converted() -> tuple[str, ...]:
    """The names of the CustomResourceDefinitions with several versions, sorted: those that must trust our webhook."""
    return tuple(sorted(name for name, versions in _kinds().items() if len(versions) > 1))


def definition(*versions: type[Resource]) -> Json:
    """The CustomResourceDefinition of one kind, with the webhook that converts between its versions."""
    one = crd(*versions)
    if len(versions) > 1:
        # Without `caBundle`: that is patched in once there is one.
        webhook = {"conversionReviewVersions": ["v1"], "clientConfig": client_config("convert")}
        one["spec"]["conversion"] = {"strategy": "Webhook", "webhook": webhook}
    return one


def _kinds() -> dict[str, list[type[Resource]]]:
    """The versions of each kind, by the name of its CustomResourceDefinition."""
    kinds: dict[str, list[type[Resource]]] = {}
    for model in MODELS:
        kinds.setdefault(model.resource.name, []).append(model)
    return kinds
