"""The default project in the kubeconfig, which may be several files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from extender.cli.runai.config import set_namespace
from extender.errors import ConfigError


def test_the_file_that_has_the_context_is_written(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text(
        yaml.safe_dump({"current-context": "lab", "contexts": [{"name": "home", "context": {"user": "u"}}]})
    )
    second.write_text(
        yaml.safe_dump(
            {"current-context": "home", "contexts": [{"name": "lab", "context": {"user": "me"}}], "users": []}
        )
    )
    before = first.read_text()
    missing = tmp_path / "missing"
    set_namespace(os.pathsep.join(map(str, (missing, first, second))), "runai-team-a")
    assert first.read_text() == before
    assert yaml.safe_load(second.read_text()) == {
        "current-context": "home",
        "contexts": [{"name": "lab", "context": {"user": "me", "namespace": "runai-team-a"}}],
        "users": [],
    }
    assert sorted(one.name for one in tmp_path.iterdir()) == ["first", "second"]


@pytest.mark.parametrize("text", ["", "current-context: gone\ncontexts: []\n"])
def test_without_a_current_context_nothing_is_written(tmp_path: Path, text: str) -> None:
    file = tmp_path / "config"
    file.write_text(text)
    with pytest.raises(ConfigError, match="has no current context"):
        set_namespace(str(file), "n")
    assert file.read_text() == text
