"""Reading a KubeSchedulerConfiguration: what deploy/ ships, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from extender.emulator.scheduler import SchedulerConfig
from extender.errors import ConfigError
from extender.wire import manifests

HEAD = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n"


def test_the_shipped_configuration_has_two_extenders_with_their_own_time_outs(tmp_path: Path) -> None:
    path = tmp_path / "kube-scheduler.yaml"
    path.write_text(manifests.configuration())
    config = SchedulerConfig.from_file(path, extender_url="http://127.0.0.1:4321")
    judge, binder = config.extenders
    assert config.scheduler_names == {"runai-scheduler"}
    assert judge.url(judge.filter_verb) == "http://127.0.0.1:4321/extender/filter"
    assert (judge.prioritize_verb, judge.bind_verb, judge.timeout_s) == ("prioritize", "", 2.0)
    assert (binder.bind_verb, binder.filter_verb, binder.timeout_s) == ("bind", "", 60.0)
    assert judge.node_cache_capable
    assert not judge.ignorable
    assert (config.initial_backoff_s, config.max_backoff_s) == (1.0, 10.0)


@pytest.mark.parametrize(
    ("disabled", "says"),
    [("DefaultPreemption", "no new claims to deallocate"), ("DynamicResources", ""), ('"*"', "")],
)
def test_dynamic_resources_adds_its_sentence_unless_it_is_off(disabled: str, says: str) -> None:
    profile = f"profiles: [{{plugins: {{postFilter: {{disabled: [{{name: {disabled}}}]}}}}}}]"
    assert SchedulerConfig.from_text(HEAD + profile).post_filter_message == says


def test_durations_managed_and_ignored_resources() -> None:
    text = HEAD + (
        "profiles: [{pluginConfig: [{name: NodeResourcesFit, args: {ignoredResources: [a/b]}}]}]\n"
        "extenders:\n"
        "- urlPrefix: http://h:1/x\n  httpTimeout: 1m30.5s\n"
        "  managedResources: [{name: c/d, ignoredByScheduler: true}, {name: e/f}]\n"
        "- urlPrefix: http://h:1/x\n"
    )
    config = SchedulerConfig.from_text(text)
    assert config.scheduler_names == {"default-scheduler"}
    assert config.extenders[0].timeout_s == 90.5
    assert config.extenders[1].timeout_s == 5.0
    assert config.extenders[0].managed_resources == {"c/d", "e/f"}
    assert config.ignored_resources == {"a/b", "c/d"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not YAML"),
        ("[]", "not a KubeSchedulerConfiguration"),
        ("kind: Policy", "kind is 'Policy'"),
        (HEAD + "extenders: [{filterVerb: f}]", "urlPrefix"),
        (HEAD + "extenders: [{urlPrefix: u, httpTimeout: soon}]", "not a duration: 'soon'"),
        (HEAD + "extenders: [{urlPrefix: u, bindVerb: b}, {urlPrefix: v, bindVerb: b}]", "only one extender"),
    ],
)
def test_what_cannot_be_used_is_named(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        SchedulerConfig.from_text(text, where="sched.yaml")


def test_a_missing_file_is_named() -> None:
    with pytest.raises(ConfigError, match=r"/nowhere/config\.yaml"):
        SchedulerConfig.from_file(Path("/nowhere/config.yaml"))
