"""The CustomResourceDefinitions that we install, from the models of `wire/resources` and `wire/workloads`.

Of a kind with several versions the first is the one that objects are stored in; for the others the API server asks our
webhook, which knows the kinds of `workloads/conversion`.
"""

from __future__ import annotations

import copy
from functools import cache

from extender.wire import resources, workloads
from extender.wire.manifests.names import Json
from extender.wire.manifests.webhooks import client_config
from extender.wire.resources import Resource, crd


def kinds() -> list[tuple[type[Resource], ...]]:
    """The models of each kind that we define, the stored version first."""
    return [*((model,) for model in resources.MODELS), *workloads.models()]


def crds() -> list[Json]:
    """Every CustomResourceDefinition, sorted by name; fresh objects that the caller may change."""
    return copy.deepcopy(_definitions())


def converted() -> tuple[str, ...]:
    """The names of the CustomResourceDefinitions with several versions, sorted: those that must trust our webhook."""
    return tuple(sorted(versions[0].resource.name for versions in kinds() if len(versions) > 1))


def definition(*versions: type[Resource]) -> Json:
    """The CustomResourceDefinition of one kind, with the webhook that converts between its versions."""
    one = crd(*versions)
    if len(versions) > 1:
        # Without `caBundle`: that is patched in once there is one.
        webhook = {"conversionReviewVersions": ["v1"], "clientConfig": client_config("convert")}
        one["spec"]["conversion"] = {"strategy": "Webhook", "webhook": webhook}
    return one


@cache
def _definitions() -> list[Json]:
    """Made once: there are dozens of parameters, each with a model of its own in every version. Cost: seconds."""
    return [definition(*versions) for versions in sorted(kinds(), key=lambda versions: versions[0].resource.name)]
