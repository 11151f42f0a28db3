"""Applies manifests much as `kubectl apply` does: any kind, found by discovery, files checked before anything is sent.

What is not possible yet is tried again for a few seconds: the namespace that a Project is about to make, the kind
that a CRD of the same file brings. So the order of the documents does not matter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from extender.errors import (
    ApiError,
    ConfigError,
    ConflictError,
    NotFoundError,
    OutcomeUnknownError,
    ThrottledError,
    UnavailableError,
)
from extender.kube.client import KubeClient

Json = dict[str, Any]

_RETRY_S = 0.1
_NOT_YET = (NotFoundError, ThrottledError, UnavailableError, OutcomeUnknownError)


@dataclass(frozen=True, slots=True)
class Document:
    """One object and where it was written, for messages."""

    obj: Json
    where: str

    def __str__(self) -> str:
        metadata = self.obj["metadata"]
        name = "/".join(filter(None, (metadata.get("namespace"), metadata["name"])))
        return f"{self.where} ({self.obj['kind']} {name})"


def read_documents(paths: Iterable[Path]) -> list[Document]:
    """Every object in YAML or JSON files, Lists taken apart. Raises ConfigError that names file and document."""
    documents: list[Document] = []
    for path in paths:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: cannot be read: {error}") from error
        documents.extend(parse_documents(text, str(path)))
    return documents


def parse_documents(text: str, where: str) -> list[Document]:
    """As `read_documents`, from one text; `where` names it in messages."""
    documents: list[Document] = []
    try:
        for number, obj in enumerate(yaml.safe_load_all(text), start=1):
            if obj is not None:  # nothing but comments between two separators
                documents.extend(_checked(obj, f"{where}, document {number}"))
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: not YAML: {error}") from error
    if not documents:
        raise ConfigError(f"{where}: holds no object")
    return documents


def _checked(obj: object, where: str) -> list[Document]:
    if not isinstance(obj, dict):
        raise ConfigError(f"{where}: not an object but a {type(obj).__name__}")
    for key in ("apiVersion", "kind"):
        if not isinstance(obj.get(key), str) or not obj[key]:
            raise ConfigError(f"{where}: {key} is missing")
    if obj["kind"] == "List":
        items = obj.get("items") or []
        return [
            document
            for number, item in enumerate(items, start=1)
            for document in _checked(item, f"{where}, item {number}")
        ]
    metadata = obj.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
        raise ConfigError(f"{where}: metadata.name is missing")
    return [Document(obj, where)]


class Applier:
    """Creates objects, or merges into those that exist. Remembers what discovery said."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client
        self._resources: dict[tuple[str, str], tuple[str, bool]] = {}  # (apiVersion, kind) -> plural, namespaced

    async def apply(
        self, documents: Sequence[Document], *, namespace: str = "default", timeout_s: float = 10.0
    ) -> None:
        """Apply all, in order where possible; those that are not possible yet again until `timeout_s`.

        namespace: of objects that name none. Raises ConfigError that names the document and the server's reason.
        """
        now = asyncio.get_running_loop().time
        deadline = now() + timeout_s
        waiting: list[Document] = list(documents)
        while waiting:
            later: list[Document] = []
            for document in waiting:
                try:
                    await self._apply_one(document, namespace)
                except _NOT_YET as error:
                    if now() >= deadline:
                        raise ConfigError(f"{document}: {error.message}") from error
                    later.append(document)
                except ApiError as error:
                    raise ConfigError(f"{document}: {error.message}") from error
            waiting = later
            if waiting:
                await asyncio.sleep(_RETRY_S)

    async def _apply_one(self, document: Document, namespace: str) -> None:
        obj = document.obj
        plural, namespaced = await self._find(obj["apiVersion"], obj["kind"])
        base = _base(obj["apiVersion"])
        if namespaced:
            collection = f"{base}/namespaces/{obj['metadata'].get('namespace') or namespace}/{plural}"
        else:
            collection = f"{base}/{plural}"
        try:
            await self._client.create(collection, obj, params={"fieldValidation": "Strict"})
        except ConflictError as error:
            if error.reason != "AlreadyExists":
                raise UnavailableError(error.message, status=error.status, reason=error.reason) from error
            await self._client.patch(f"{collection}/{obj['metadata']['name']}", obj)

    async def _find(self, api_version: str, kind: str) -> tuple[str, bool]:
        """(plural, whether namespaced) of a kind; NotFoundError while it is not served."""
        if (api_version, kind) not in self._resources:
            try:
                served = await self._client.get(_base(api_version))
            except NotFoundError as error:
                raise NotFoundError(f"the server has no apiVersion {api_version}") from error
            for resource in served.get("resources") or ():
                if "/" not in resource["name"]:
                    found = (resource["name"], bool(resource["namespaced"]))
                    self._resources[api_version, resource["kind"]] = found
        try:
            return self._resources[api_version, kind]
        except KeyError:
            raise NotFoundError(f"the server has no kind {kind} in {api_version}") from None


def _base(api_version: str) -> str:
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
