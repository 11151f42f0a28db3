"""Admission webhooks: which configurations match a write, and what they make of it.

Follows the API server in order (configurations by name, webhooks in their order), reinvocation, failure policy, and the
words of refusals. A webhook whose rules name only another version of a resource gets the object in that version, unless
its `matchPolicy` is Exact. Left out: the same across API groups, and the connect-like subresources (binding, eviction).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

import orjson

from extender.emulator import convert, expressions, patching, status
from extender.emulator.resources import (
    JSON,
    MUTATING_WEBHOOKS,
    NAMESPACES,
    VALIDATING_WEBHOOKS,
    Registry,
    Resource,
    Storage,
)
from extender.emulator.selectors import label_selector, selects
from extender.emulator.store import Store
from extender.emulator.versions import Versions
from extender.emulator.webhooks import WebhookError, Webhooks

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Operation:
    """One write as admission sees it; `obj` is None for DELETE, `old` for CREATE; both as stored.

    warnings: collects what the webhooks want the client to read. requested: what the client addressed, where a webhook
    is asked about another version of it.
    """

    verb: str
    resource: Resource
    namespace: str
    obj: JSON | None
    old: JSON | None
    dry_run: bool = False
    warnings: list[str] = field(default_factory=list)
    subresource: str = ""
    name: str = ""
    requested: Resource | None = None

    @property
    def metadata(self) -> JSON:
        found: JSON = (self.obj or self.old or {}).get("metadata") or {}
        return found


class Admission:
    """Calls the webhooks that configuration objects in the store ask for."""

    def __init__(self, store: Store, registry: Registry, webhooks: Webhooks, versions: Versions) -> None:
        self._store = store
        self._registry = registry
        self._webhooks = webhooks
        self._versions = versions

    def mutates(self, resource: Resource) -> bool:
        """Whether any mutating webhook may have to be asked; cheap, for the hot path."""
        return self._concerns(MUTATING_WEBHOOKS, resource)

    def validates(self, resource: Resource) -> bool:
        """Whether any validating webhook may have to be asked."""
        return self._concerns(VALIDATING_WEBHOOKS, resource)

    def _concerns(self, storage: Storage, resource: Resource) -> bool:
        # Webhooks never see their own configurations, or a broken one could not be removed.
        return bool(self._store.count(storage)) and resource.storage not in (MUTATING_WEBHOOKS, VALIDATING_WEBHOOKS)

    async def mutate(self, operation: Operation) -> JSON:
        """The object after all mutating webhooks. Raises StatusError when one refuses or fails closed."""
        called: list[tuple[JSON, Resource, JSON]] = []
        async for webhook, seen in self._matching(MUTATING_WEBHOOKS, operation):
            await self._mutate_by(webhook, seen, operation)
            called.append((webhook, seen.resource, operation.obj or {}))
        for webhook, resource, after in called:
            # Once more for those whose result a later webhook changed.
            if webhook.get("reinvocationPolicy") == "IfNeeded" and operation.obj != after:
                await self._mutate_by(webhook, await self._seen(operation, resource), operation)
        return operation.obj or {}

    async def _mutate_by(self, webhook: JSON, seen: Operation, operation: Operation) -> None:
        """Ask about `seen`, and change the object of `operation`, which is the same or in another version."""
        response = await self._ask(webhook, seen)
        if not response.get("patch"):
            return
        try:
            operations = orjson.loads(base64.b64decode(response["patch"]))
            typed = _typed(seen.resource, seen.obj or {})
            patched = patching.json_patch(orjson.loads(orjson.dumps(typed)), operations)
        except (ValueError, binascii.Error) as error:
            raise status.internal_error(f'admission webhook "{webhook["name"]}" sent a bad patch: {error}') from error
        stored = convert.to_stored(seen.resource, patched)
        operation.obj = await self._versions.between(seen.resource, stored, operation.resource)

    async def validate(self, operation: Operation) -> None:
        """Ask all validating webhooks, at once. Raises StatusError when one refuses or fails closed."""
        asked = [one async for one in self._matching(VALIDATING_WEBHOOKS, operation)]
        results = await asyncio.gather(*(self._ask(*one) for one in asked), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _matching(self, storage: Storage, operation: Operation) -> AsyncIterator[tuple[JSON, Operation]]:
        """The webhooks that a write concerns, each with the write as it sees it."""
        for record in self._store.records(storage):
            for webhook in record.obj.get("webhooks") or ():
                resource = self._ruled(webhook, operation)
                if resource is not None and self._selects(webhook, operation):
                    seen = await self._seen(operation, resource)
                    if self._conditions_hold(webhook, seen):
                        yield webhook, seen

    def _ruled(self, webhook: JSON, operation: Operation) -> Resource | None:
        """In which version the rules want the object, the request's own before others; None when in none."""
        rules, mine = webhook.get("rules") or (), operation.resource
        if any(_rule_matches(rule, operation, mine) for rule in rules):
            return mine
        if webhook.get("matchPolicy") == "Exact":
            return None
        others = (one for one in self._registry if one.storage == mine.storage)
        return next((one for one in others if any(_rule_matches(rule, operation, one) for rule in rules)), None)

    async def _seen(self, operation: Operation, resource: Resource) -> Operation:
        if resource is operation.resource:
            return operation
        obj, old = [
            None if state is None else await self._versions.between(operation.resource, state, resource)
            for state in (operation.obj, operation.old)
        ]
        return replace(operation, resource=resource, obj=obj, old=old, requested=operation.resource)

    def _selects(self, webhook: JSON, operation: Operation) -> bool:
        if operation.resource.namespaced or operation.resource.storage == NAMESPACES:
            requirements = label_selector(webhook.get("namespaceSelector") or {})
            if not selects(requirements, self._namespace_labels(operation)):
                return False
        requirements = label_selector(webhook.get("objectSelector") or {})
        states = [state for state in (operation.obj, operation.old) if state is not None]
        return any(selects(requirements, state["metadata"].get("labels") or {}) for state in states)

    def _namespace_labels(self, operation: Operation) -> dict[str, str]:
        if operation.resource.storage == NAMESPACES:
            return operation.metadata.get("labels") or {}
        record = self._store.get(NAMESPACES, "", operation.namespace)
        return (record.obj["metadata"].get("labels") or {}) if record else {}

    def _conditions_hold(self, webhook: JSON, operation: Operation) -> bool:
        conditions = webhook.get("matchConditions") or ()
        if not conditions:
            return True
        request = _request(operation, "")
        variables = {"object": request["object"], "oldObject": request["oldObject"], "request": request}
        failure = None
        for condition in conditions:
            try:
                if expressions.holds(condition["expression"], variables) is False:
                    return False
            except expressions.ExpressionError as error:
                failure = error
        # A condition that fails decides nothing by itself: one that is false would have ended it above.
        if failure is not None and webhook.get("failurePolicy") != "Ignore":
            raise status.internal_error(f'failed evaluating match conditions of webhook "{webhook["name"]}": {failure}')
        return failure is None

    async def _ask(self, webhook: JSON, operation: Operation) -> JSON:
        """One call; an empty answer where it failed and may be ignored. Raises StatusError for a refusal."""
        name = webhook["name"]
        try:
            response = await self._call(webhook, operation)
        except WebhookError as error:
            if webhook.get("failurePolicy") == "Ignore":
                log.warning("admission webhook failed open", extra={"webhook": name, "error": str(error)})
                return {}
            raise status.internal_error(f'failed calling webhook "{name}": {error}') from error
        operation.warnings.extend(str(text) for text in response.get("warnings") or ())
        if not response.get("allowed"):
            raise _refusal(name, response.get("status") or {})
        return response

    async def _call(self, webhook: JSON, operation: Operation) -> JSON:
        review = {
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": _request(operation, str(uuid.uuid4())),
        }
        try:
            client, timeout_s = webhook.get("clientConfig") or {}, webhook.get("timeoutSeconds", 10)
            response = await self._webhooks.ask(client, review, timeout_s)
        except WebhookError as error:
            raise WebhookError(f"failed to call webhook: {error}") from error
        if response.get("patch") and response.get("patchType") != "JSONPatch":
            raise WebhookError("webhook returned response.patch but not response.patchType JSONPatch")
        return response


def _rule_matches(rule: JSON, operation: Operation, resource: Resource) -> bool:
    scope = rule.get("scope", "*")
    return (
        _contains(rule.get("operations"), operation.verb)
        and _contains(rule.get("apiGroups"), resource.group)
        and _contains(rule.get("apiVersions"), resource.version)
        and any(_resource_matches(pattern, operation) for pattern in rule.get("resources") or ())
        and (scope == "*" or (scope == "Namespaced") == resource.namespaced)
    )


def _contains(values: list[str] | None, value: str) -> bool:
    return bool(values) and ("*" in (values or ()) or value in (values or ()))


def _resource_matches(pattern: str, operation: Operation) -> bool:
    plural, _, subresource = pattern.partition("/")
    return plural in ("*", operation.resource.plural) and (
        subresource == operation.subresource or (subresource == "*" and "/" in pattern)
    )


def _typed(resource: Resource, obj: JSON) -> JSON:
    return {"apiVersion": resource.api_version, "kind": resource.kind, **convert.to_served(resource, obj)}


def _kind(resource: Resource) -> JSON:
    return {"group": resource.group, "version": resource.version, "kind": resource.kind}


def _plural(resource: Resource) -> JSON:
    return {"group": resource.group, "version": resource.version, "resource": resource.plural}


def _request(operation: Operation, uid: str) -> JSON:
    """The `request` of an AdmissionReview."""
    resource, requested = operation.resource, operation.requested or operation.resource
    request: JSON = {
        "uid": uid,
        "kind": _kind(resource),
        "resource": _plural(resource),
        "requestKind": _kind(requested),
        "requestResource": _plural(requested),
        "name": operation.name or operation.metadata.get("name", ""),
        "operation": operation.verb,
        "userInfo": {"username": "kubernetes-admin", "groups": ["system:masters", "system:authenticated"]},
        "object": None if operation.obj is None else _typed(resource, operation.obj),
        "oldObject": None if operation.old is None else _typed(resource, operation.old),
        "dryRun": operation.dry_run,
        "options": {"apiVersion": "meta.k8s.io/v1", "kind": f"{operation.verb.title()}Options"},
    }
    if operation.namespace:
        request["namespace"] = operation.namespace
    if operation.subresource:
        request["subResource"] = request["requestSubResource"] = operation.subresource
    return request


def _refusal(name: str, answer: JSON) -> status.StatusError:
    text = f'admission webhook "{name}" denied the request'
    if answer.get("message"):
        text += f": {answer['message']}"
    elif answer.get("reason"):
        text += f": {answer['reason']}"
    else:
        text += " without explanation"
    code = answer.get("code", 0)
    code = code if isinstance(code, int) and code >= 400 else 400
    return status.StatusError(code, str(answer.get("reason", "")), text, answer.get("details"))
