"""Admission webhooks: which configurations match a write, and what they make of it.

Follows the API server in order (configurations by name, webhooks in their order), reinvocation, failure policy, and the
words of refusals. Left out: `matchPolicy` beyond versions of the same resource, and the connect-like subresources
(binding, eviction). Plain http is allowed, since everything here is one machine's loopback.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import ssl
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import aiohttp
import orjson

from extender.emulator import convert, expressions, patching, status
from extender.emulator.resources import JSON, MUTATING_WEBHOOKS, NAMESPACES, VALIDATING_WEBHOOKS, Resource, Storage
from extender.emulator.selectors import label_selector, selects
from extender.emulator.store import Store

log = logging.getLogger(__name__)

# (namespace, name, port) of a Service → the base URL under which this process reaches it.
ServiceResolver = Callable[[str, str, int], str]


class WebhookError(Exception):
    """A webhook could not be asked or gave no usable answer: what the failure policy is for."""


@dataclass(slots=True)
class Operation:
    """One write as admission sees it; `obj` is None for DELETE, `old` for CREATE; both as stored.

    warnings: collects what the webhooks want the client to read.
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

    @property
    def metadata(self) -> JSON:
        found: JSON = (self.obj or self.old or {}).get("metadata") or {}
        return found


class Admission:
    """Calls the webhooks that configuration objects in the store ask for.

    service_resolver: where Services of webhooks really are; without it such webhooks fail as unreachable ones do.
    """

    def __init__(self, store: Store, service_resolver: ServiceResolver | None = None) -> None:
        self._store = store
        self._session: aiohttp.ClientSession | None = None
        self.service_resolver = service_resolver

    async def close(self) -> None:
        """Close the connections to webhooks."""
        if self._session is not None:
            await self._session.close()
            self._session = None

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
        called: list[tuple[JSON, JSON]] = []
        for webhook in self._matching(MUTATING_WEBHOOKS, operation):
            await self._mutate_by(webhook, operation)
            called.append((webhook, operation.obj or {}))
        for webhook, after in called:
            # Once more for those whose result a later webhook changed.
            if webhook.get("reinvocationPolicy") == "IfNeeded" and operation.obj != after:
                await self._mutate_by(webhook, operation)
        return operation.obj or {}

    async def _mutate_by(self, webhook: JSON, operation: Operation) -> None:
        response = await self._ask(webhook, operation)
        if not response.get("patch"):
            return
        try:
            operations = orjson.loads(base64.b64decode(response["patch"]))
            typed = _typed(operation.resource, operation.obj or {})
            patched = patching.json_patch(orjson.loads(orjson.dumps(typed)), operations)
        except (ValueError, binascii.Error) as error:
            raise status.internal_error(f'admission webhook "{webhook["name"]}" sent a bad patch: {error}') from error
        operation.obj = convert.to_stored(operation.resource, patched)

    async def validate(self, operation: Operation) -> None:
        """Ask all validating webhooks, at once. Raises StatusError when one refuses or fails closed."""
        webhooks = list(self._matching(VALIDATING_WEBHOOKS, operation))
        results = await asyncio.gather(*(self._ask(w, operation) for w in webhooks), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    def _matching(self, storage: Storage, operation: Operation) -> Iterator[JSON]:
        for record in self._store.records(storage):
            for webhook in record.obj.get("webhooks") or ():
                if self._matches(webhook, operation):
                    yield webhook

    def _matches(self, webhook: JSON, operation: Operation) -> bool:
        rules = webhook.get("rules") or ()
        if not any(_rule_matches(rule, operation, webhook.get("matchPolicy") != "Exact") for rule in rules):
            return False
        if operation.resource.namespaced or operation.resource.storage == NAMESPACES:
            requirements = label_selector(webhook.get("namespaceSelector") or {})
            if not selects(requirements, self._namespace_labels(operation)):
                return False
        requirements = label_selector(webhook.get("objectSelector") or {})
        states = [state for state in (operation.obj, operation.old) if state is not None]
        if not any(selects(requirements, state["metadata"].get("labels") or {}) for state in states):
            return False
        return self._conditions_hold(webhook, operation)

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
        url, tls = self._address(webhook)
        uid = str(uuid.uuid4())
        review = {
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {"uid": uid, **_request(operation, uid)},
        }
        if self._session is None:
            self._session = aiohttp.ClientSession()
        timeout = aiohttp.ClientTimeout(total=webhook.get("timeoutSeconds", 10))
        headers = {"Content-Type": "application/json"}
        try:
            async with self._session.post(
                url, data=orjson.dumps(review), headers=headers, timeout=timeout, ssl=tls
            ) as reply:
                body = await reply.read()
                if reply.status != 200:
                    raise WebhookError(f'failed to call webhook: the server answered "{url}" with {reply.status}')
        except TimeoutError as error:
            raise WebhookError(f'failed to call webhook: Post "{url}": context deadline exceeded') from error
        except aiohttp.ClientError as error:
            raise WebhookError(f'failed to call webhook: Post "{url}": {error}') from error
        return _read_review(body, uid)

    def _address(self, webhook: JSON) -> tuple[str, ssl.SSLContext | bool]:
        client = webhook.get("clientConfig") or {}
        url = client.get("url")
        if not url:
            service = client["service"]
            if self.service_resolver is None:
                raise WebhookError(f'service "{service["name"]}" not found')
            try:
                base = self.service_resolver(service["namespace"], service["name"], service.get("port", 443))
            except LookupError as error:
                raise WebhookError(f'service "{service["name"]}" not found') from error
            url = base.rstrip("/") + "/" + service.get("path", "").lstrip("/")
        bundle = client.get("caBundle")
        return url, _trusting(bundle) if bundle and url.startswith("https") else True


@lru_cache(maxsize=16)
def _trusting(bundle: str) -> ssl.SSLContext:
    """A TLS context that trusts a caBundle and nothing else. Raises WebhookError."""
    try:
        return ssl.create_default_context(cadata=base64.b64decode(bundle).decode())
    except (ValueError, binascii.Error, ssl.SSLError) as error:
        raise WebhookError(f"unable to load root certificates: {error}") from error


def _rule_matches(rule: JSON, operation: Operation, equivalent: bool) -> bool:
    resource = operation.resource
    scope = rule.get("scope", "*")
    return (
        _contains(rule.get("operations"), operation.verb)
        and _contains(rule.get("apiGroups"), resource.group)
        and (equivalent or _contains(rule.get("apiVersions"), resource.version))
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


def _request(operation: Operation, uid: str) -> JSON:
    """The `request` of an AdmissionReview, its uid apart."""
    resource = operation.resource
    kind = {"group": resource.group, "version": resource.version, "kind": resource.kind}
    plural = {"group": resource.group, "version": resource.version, "resource": resource.plural}
    request: JSON = {
        "uid": uid,
        "kind": kind,
        "resource": plural,
        "requestKind": kind,
        "requestResource": plural,
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


def _read_review(body: bytes, uid: str) -> JSON:
    """The `response` of a reply. Raises WebhookError for anything that is not a proper one."""
    try:
        review: Any = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise WebhookError(f"failed to decode the webhook's reply: {error}") from error
    response = review.get("response") if isinstance(review, dict) else None
    if not isinstance(response, dict):
        raise WebhookError("the webhook's reply has no response")
    if review.get("apiVersion") != "admission.k8s.io/v1" or review.get("kind") != "AdmissionReview":
        raise WebhookError("expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview")
    if response.get("uid") != uid:
        raise WebhookError(f'expected response.uid="{uid}", got "{response.get("uid", "")}"')
    if response.get("patch") and response.get("patchType") != "JSONPatch":
        raise WebhookError("webhook returned response.patch but not response.patchType JSONPatch")
    return response


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
