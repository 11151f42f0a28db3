"""The part of a KubeSchedulerConfiguration that the mini scheduler follows."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from extender.errors import ConfigError

Json = dict[str, Any]

_DURATION = re.compile(r"([0-9]*\.?[0-9]+)(h|ms|m|s)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


@dataclass(frozen=True, slots=True)
class ExtenderConfig:
    """One entry of `extenders`; an empty verb is not offered."""

    url_prefix: str
    filter_verb: str = ""
    prioritize_verb: str = ""
    bind_verb: str = ""
    weight: int = 1
    node_cache_capable: bool = False
    timeout_s: float = 5.0
    ignorable: bool = False
    managed_resources: frozenset[str] = frozenset()
    ignored_resources: frozenset[str] = frozenset()

    def url(self, verb: str) -> str:
        return f"{self.url_prefix.rstrip('/')}/{verb}"


@dataclass(frozen=True, slots=True)
class SchedulerConfig:
    """How the mini scheduler behaves. Times in seconds; the defaults are kube-scheduler's.

    post_filter_message: what PostFilter plugins add to the text of an unschedulable pod.
    backoff_window_s: back-off ends are rounded up to whole windows; 0 switches that off (tests).
    pops_from_backoff: the feature gate SchedulerPopFromBackoffQ; our deploy/ switches it off, so it is off
    here.
    """

    scheduler_names: frozenset[str]
    extenders: tuple[ExtenderConfig, ...] = ()
    ignored_resources: frozenset[str] = frozenset()
    initial_backoff_s: float = 1.0
    max_backoff_s: float = 10.0
    backoff_window_s: float = 1.0
    flush_after_s: float = 300.0
    pops_from_backoff: bool = False
    post_filter_message: str = ""

    @classmethod
    def from_file(cls, path: Path, *, extender_url: str | None = None) -> SchedulerConfig:
        """Read `path`, a KubeSchedulerConfiguration in YAML; raises ConfigError that names what is wrong.

        extender_url: scheme, host and port that replace those of every `urlPrefix` (its path stays).
        """
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{path}: {error}") from error
        return cls.from_text(text, extender_url=extender_url, where=str(path))

    @classmethod
    def from_text(
        cls, text: str, *, extender_url: str | None = None, where: str = "scheduler configuration"
    ) -> SchedulerConfig:
        """As `from_file`, from the text of one."""
        try:
            document = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"{where}: not YAML: {error}") from error
        if not isinstance(document, dict):
            raise ConfigError(f"{where}: not a KubeSchedulerConfiguration")
        if document.get("kind") != "KubeSchedulerConfiguration":
            raise ConfigError(f"{where}: kind is {document.get('kind')!r}, not 'KubeSchedulerConfiguration'")
        try:
            extenders = tuple(_extender(entry) for entry in document.get("extenders") or ())
            profiles: list[Json] = document.get("profiles") or [{}]
            config = cls(
                scheduler_names=frozenset(p.get("schedulerName", "default-scheduler") for p in profiles),
                extenders=extenders,
                ignored_resources=frozenset().union(
                    *(e.ignored_resources for e in extenders), *(_fit_ignores(p) for p in profiles)
                ),
                initial_backoff_s=float(document.get("podInitialBackoffSeconds") or 1),
                max_backoff_s=float(document.get("podMaxBackoffSeconds") or 10),
                post_filter_message=_post_filter_message(profiles[0]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ConfigError(f"{where}: {type(error).__name__}: {error}") from error
        if sum(bool(extender.bind_verb) for extender in config.extenders) > 1:
            raise ConfigError(f"{where}: only one extender may have a bindVerb")
        return config.with_extender_url(extender_url) if extender_url else config

    def with_extender_url(self, url: str) -> SchedulerConfig:
        """The same configuration with the scheme, host and port of `url` in every extender."""
        new = urlsplit(url)
        return replace(
            self,
            extenders=tuple(
                replace(
                    extender,
                    url_prefix=urlsplit(extender.url_prefix)._replace(scheme=new.scheme, netloc=new.netloc).geturl(),
                )
                for extender in self.extenders
            ),
        )


def _extender(entry: Json) -> ExtenderConfig:
    managed = entry.get("managedResources") or ()
    return ExtenderConfig(
        url_prefix=entry["urlPrefix"],
        filter_verb=entry.get("filterVerb", ""),
        prioritize_verb=entry.get("prioritizeVerb", ""),
        bind_verb=entry.get("bindVerb", ""),
        weight=int(entry.get("weight", 1)),
        node_cache_capable=bool(entry.get("nodeCacheCapable", False)),
        timeout_s=_seconds(entry.get("httpTimeout") or "5s"),
        ignorable=bool(entry.get("ignorable", False)),
        managed_resources=frozenset(resource["name"] for resource in managed),
        ignored_resources=frozenset(r["name"] for r in managed if r.get("ignoredByScheduler")),
    )


def _fit_ignores(profile: Json) -> frozenset[str]:
    return frozenset(
        resource
        for plugin in profile.get("pluginConfig") or ()
        if plugin.get("name") == "NodeResourcesFit"
        for resource in (plugin.get("args") or {}).get("ignoredResources") or ()
    )


def _post_filter_message(profile: Json) -> str:
    """DynamicResources, on by default, says this about every pod that has no claims (seen on 1.36)."""
    disabled = ((profile.get("plugins") or {}).get("postFilter") or {}).get("disabled") or ()
    is_off = any(plugin.get("name") in ("DynamicResources", "*") for plugin in disabled)
    return "" if is_off else "no new claims to deallocate"


def _seconds(text: str) -> float:
    """A Go duration ("2s", "1m30s", "500ms") in seconds; raises ValueError."""
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"not a duration: {text!r}")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)
