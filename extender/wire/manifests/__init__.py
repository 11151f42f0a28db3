"""All that an installation consists of, the one source of `deploy/` and of `runai-scheduler manifests`.

`render` gives the objects as they go to an API server; `files` gives the same objects as a kustomize base,
where the kube-scheduler configuration is a file of its own (a changed file then has a new ConfigMap name, and
the Pods roll) and the images' registries are left to the administrator. `make manifests` writes `files` to
`deploy/`; a test compares the two.

Read first: `render`, `files`; then `workload.py` and `services.py` for what runs and `access.py` for what it may do.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from extender.wire.manifests import cert_manager
from extender.wire.manifests.access import access, flow_schemas
from extender.wire.manifests.definitions import crds
from extender.wire.manifests.kubescheduler import configuration
from extender.wire.manifests.names import (
    CONFIG_FILE,
    CONFIG_MAP,
    IMAGE,
    IMAGE_TAG,
    KUBE_SCHEDULER_IMAGE,
    KUBE_SCHEDULER_TAG,
    NAMESPACE,
    PART_OF,
    Json,
    metadata,
)
from extender.wire.manifests.priorities import priority_classes
from extender.wire.manifests.services import services
from extender.wire.manifests.webhooks import webhooks
from extender.wire.manifests.workload import namespaces, workload

__all__ = ["configuration", "files", "render", "to_yaml", "write"]

_CERT_MANAGER: Json = {
    "apiVersion": "kustomize.config.k8s.io/v1alpha1",
    "kind": "Component",
    "resources": ["certificate.yaml"],
    "patches": [{"path": "patches.yaml"}],
}
_HEADER = "# Written by `make manifests` from extender/wire/. Change it there.\n"


def render(crds_only: bool = False) -> list[Json]:
    """Every object to install, or only the CRDs, in an order in which `kubectl apply` accepts them.

    The images have no registry and the kube-scheduler configuration is a plain ConfigMap: to set the first
    and to roll the Pods on a change of the second, install through kustomize. The objects are fresh; the
    caller may change them.
    """
    if crds_only:
        return crds()
    # The tags are kustomize's work in `files`; here they have to be on the images themselves.
    tags = {IMAGE: IMAGE_TAG, KUBE_SCHEDULER_IMAGE: KUBE_SCHEDULER_TAG}
    objects = [one for name, group in _groups().items() if name != "crds" for one in group]
    for container in _containers(objects):
        container["image"] = f"{container['image']}:{tags[container['image']]}"
    config_map = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(CONFIG_MAP),
        "data": {CONFIG_FILE: configuration()},
    }
    return [objects[0], *crds(), config_map, *objects[1:]]


def files() -> dict[str, str]:
    """The files of `deploy/`, path under it to text."""
    groups = _groups()
    texts = {f"crds/{one['metadata']['name']}.yaml": to_yaml([one]) for one in groups.pop("crds")}
    texts |= {f"{name}.yaml": to_yaml(group) for name, group in groups.items()}
    resources = sorted(texts)
    base = {**texts, CONFIG_FILE: configuration(), "kustomization.yaml": _kustomization(resources)}
    component = {
        "certificate.yaml": to_yaml(cert_manager.certificate()),
        "patches.yaml": to_yaml(cert_manager.patches()),
        "kustomization.yaml": to_yaml([_CERT_MANAGER]),
    }
    folders = {"base": base, "components/cert-manager": component}
    return {
        f"{folder}/{path}": _HEADER + text for folder, paths in folders.items() for path, text in sorted(paths.items())
    }


def write(root: Path) -> list[Path]:
    """Write `files` under `root` (usually `deploy`), replace what differs, and return the paths written.

    Generated files that are no longer generated are left for the author to delete. Raises OSError.
    """
    written = []
    for name, text in files().items():
        path = root / name
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return written


def to_yaml(objects: list[Json]) -> str:
    """The objects as one YAML stream, keys in the order given."""
    return yaml.dump_all(objects, Dumper=_Dumper, sort_keys=False, width=110, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    """Repeats equal values instead of pointing at them, and writes texts of several lines as such."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  # the base class calls it so
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def _groups() -> dict[str, list[Json]]:
    """File name without suffix to the objects in it, the namespace first."""
    return {
        "namespace": namespaces(),
        "crds": crds(),
        "priority-classes": priority_classes(),
        "access": access(),
        "flow-schemas": flow_schemas(),
        "workload": workload(),
        "services": services(),
        # Last: from then on pods of ours need an answer.
        "webhooks": webhooks(),
    }


def _containers(objects: list[Json]) -> list[Json]:
    return [
        container
        for one in objects
        if one["kind"] == "Deployment"
        for container in one["spec"]["template"]["spec"]["containers"]
    ]


def _kustomization(resources: list[str]) -> str:
    """The kustomization, with what an administrator has to know before `kubectl apply -k`."""
    head: Mapping[str, Any] = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": resources,
        "configMapGenerator": [
            {
                "name": CONFIG_MAP,
                "namespace": NAMESPACE,
                "files": [CONFIG_FILE],
                "options": {"labels": dict(PART_OF)},
            }
        ],
    }
    return f"""\
{to_yaml([dict(head)])}\
# The names carry no registry. In an overlay, say where your cluster finds the two images:
#   images:
#   - name: {IMAGE}
#     newName: <registry>/{IMAGE}
#   - name: {KUBE_SCHEDULER_IMAGE}
#     newName: <registry>/{KUBE_SCHEDULER_IMAGE}
#     newTag: <a release of your cluster's minor version>
images:
- name: {IMAGE}
  newTag: {IMAGE_TAG}
- name: {KUBE_SCHEDULER_IMAGE}
  newTag: {KUBE_SCHEDULER_TAG}
"""
