"""What is fetched before the container starts: git repositories and S3 buckets, each by an init container.

A bucket is copied, not mounted: a mount needs a privileged container with FUSE on every node, which the projects of
researchers should not have. So the container sees the bucket as it was at the start, and what it writes stays there.
"""

from __future__ import annotations

from typing import Any

from extender.workloads.objects.draft import Draft
from extender.workloads.objects.parts import items
from extender.workloads.objects.references import variable

Json = dict[str, Any]

_GIT_ROOT = "/code"
_GIT_BRANCH = "master"
_S3_ROOT = "/s3"
_S3_URL = "https://s3.amazon.com"


def add_git(draft: Draft) -> None:
    """gitSync: a revision wins over a branch; the first is `git-sync`, further ones are numbered."""
    for number, _, item in items(draft.values, "gitSync"):
        suffix = f"-{number}" if number else ""
        variables = {
            "GIT_SYNC_REPO": item.get("source"),
            "GIT_SYNC_ROOT": _GIT_ROOT,
            "GIT_SYNC_ONE_TIME": "true",
            "GIT_SYNC_USERNAME": item.get("username"),
            "GIT_SYNC_PASSWORD": item.get("password"),
        }
        if item.get("revision"):
            variables["GIT_SYNC_REV"] = item["revision"]
        else:
            variables["GIT_SYNC_BRANCH"] = item.get("branch") or _GIT_BRANCH
        _fetch(
            draft,
            name=f"git-sync{suffix}",
            image=str(item.get("image") or draft.submission.images.git_sync),
            variables=variables,
            volume=f"code-sync{suffix}",
            root=_GIT_ROOT,
            target=str(item.get("target") or _GIT_ROOT),
        )


def add_buckets(draft: Draft) -> None:
    """s3."""
    for number, _, item in items(draft.values, "s3"):
        _fetch(
            draft,
            name=f"s3-{number}",
            image=draft.submission.images.s3,
            variables={
                "RCLONE_CONFIG_S3_TYPE": "s3",
                "RCLONE_CONFIG_S3_ENDPOINT": item.get("url") or _S3_URL,
                "RCLONE_CONFIG_S3_ACCESS_KEY_ID": item.get("accessKeyId"),
                "RCLONE_CONFIG_S3_SECRET_ACCESS_KEY": item.get("secret"),
            },
            volume=f"s3-volume-{number}",
            root=_S3_ROOT,
            target=str(item["target"]),
            args=["copy", f"s3:{item['bucket']}", _S3_ROOT],
        )


def _fetch(
    draft: Draft,
    *,
    name: str,
    image: str,
    variables: Json,
    volume: str,
    root: str,
    target: str,
    args: list[str] | None = None,
) -> None:
    """An init container that fills a volume at `root`, which the main container has at `target`."""
    container: Json = {"name": name, "image": image}
    if args:
        container["args"] = args
    container["env"] = [variable(key, variables[key]) for key in sorted(variables) if variables[key]]
    container["volumeMounts"] = [{"name": volume, "mountPath": root}]
    draft.first.append(container)
    draft.mount(volume, {"emptyDir": {}}, target)
