from __future__ import annotations

from pathlib import Path

import pytest

from extender.errors import ConfigError
from extender.packing.strategy import Strategy
from extender.settings import load


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [name for name in os.environ if name.startswith("RUNAI_") or name == "KUBECONFIG"]:
        monkeypatch.delenv(name)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return path


def test_defaults_are_those_of_the_documentation() -> None:
    settings = load()
    assert settings.extender_address == "127.0.0.1:8888"
    assert settings.metrics_address == "0.0.0.0:9090"
    assert (settings.placement.answer, settings.placement.gpu, settings.placement.cpu) == (
        "seat",
        Strategy.FRAGMENTATION,
        Strategy.FRAGMENTATION,
    )
    assert (settings.reservation_ttl_s, settings.stale_after_s) == (120.0, 30.0)
    assert settings.create_namespaces
    assert settings.roles == ("extender", "admission", "workloads")
    assert settings.workloads_lease == "runai-workloads"
    assert settings.admission_address == "0.0.0.0:9443"
    assert settings.admission.gates
    assert settings.kubeconfig is None


def test_flags_win_over_the_environment_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, "log_level: error\nextender_address: 1.1.1.1:1\nmetrics_address: 1.1.1.1:2\n")
    monkeypatch.setenv("RUNAI_LOG_LEVEL", "warning")
    monkeypatch.setenv("RUNAI_EXTENDER_ADDRESS", "2.2.2.2:1")
    settings = load(path, log_level="debug", lease=None)
    assert (settings.log_level, settings.extender_address, settings.metrics_address) == (
        "debug",
        "2.2.2.2:1",
        "1.1.1.1:2",
    )


def test_cpu_and_memory_by_gpu(tmp_path: Path) -> None:
    given = load().admission.limit_range
    assert (given.cpu_default_request_gpu_factor, given.memory_default_request_gpu_factor) == (1000, 100)
    assert (given.cpu_default_limit_gpu_factor, given.memory_default_limit_gpu_factor) == (0, 0)
    documented = (
        "admission: {limitRange: {cpuDefaultRequestGpuFactor: 0.5, memoryDefaultRequestGpuFactor: 1Gi, "
        "cpuDefaultLimitGpuFactor: 2, memoryDefaultLimitGpuFactor: 2Gi}}"
    )
    given = load(written(tmp_path, documented)).admission.limit_range
    assert (given.cpu_default_request_gpu_factor, given.memory_default_request_gpu_factor) == (500, 1024)
    assert (given.cpu_default_limit_gpu_factor, given.memory_default_limit_gpu_factor) == (2000, 2048)


@pytest.mark.parametrize(
    ("factors", "text"),
    [
        (("1",), "memoryDefaultRequestGpuFactor: Field required"),
        (("1", "1x", "0", "0"), "not a quantity: '1x'"),
        (("2", "1", "1", "0"), "cpu_default_limit_gpu_factor is below cpu_default_request_gpu_factor"),
        (("-1", "1", "1", "0"), "greater than or equal to 0"),
    ],
    ids=["not all four", "no quantity", "a limit below the request", "negative"],
)
def test_factors_that_cannot_be(tmp_path: Path, factors: tuple[str, ...], text: str) -> None:
    names = ("cpu_default_request", "memory_default_request", "cpu_default_limit", "memory_default_limit")
    lines = ", ".join(f"{name}_gpu_factor: {factor}" for name, factor in zip(names, factors, strict=False))
    with pytest.raises(ConfigError, match=text):
        load(written(tmp_path, f"admission: {{limit_range: {{{lines}}}}}"))


def test_nested_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNAI_PLACEMENT__GPU", "spread")
    assert load(written(tmp_path, "placement: {answer: all}\n")).placement.answer == "all"
    assert load(written(tmp_path, "placement: {answer: all}\n")).placement.gpu is Strategy.SPREAD


def test_roles_are_separated_by_commas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(roles="admission, extender").roles == ("admission", "extender")
    assert load(written(tmp_path, "roles: [admission]\n")).roles == ("admission",)
    monkeypatch.setenv("RUNAI_ROLES", "extender")
    assert load().roles == ("extender",)


def test_the_gates_of_admission_may_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNAI_ADMISSION__GATES", "false")
    assert not load().admission.gates


def test_gpu_metrics_are_off_until_there_is_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load().gpu_metrics.model_dump() == {"url": "", "query": "", "every_s": 30.0, "timeout_s": 10.0}
    monkeypatch.setenv("RUNAI_GPU_METRICS__URL", "http://prometheus:9090")
    found = load(written(tmp_path, "gpu_metrics: {every_s: 10}\n")).gpu_metrics
    assert (found.url, found.bridge_s, found.look_back_s) == ("http://prometheus:9090", 30, 40)


def test_kubeconfig_comes_from_the_environment_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "/env")
    assert load().kubeconfig == "/env"
    assert load(kubeconfig="/flag").kubeconfig == "/flag"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("extender_address: nowhere\n", ["extender_address", "nowhere", "HOST:PORT"]),
        ("metrics_address: 127.0.0.1:99999\n", ["metrics_address", "99999"]),
        ("roles: everything\n", ["roles", "everything"]),
        ("roles: []\n", ["at least one role of extender, admission"]),
        ("tls_cert: /tls.crt\n", ["tls_cert and tls_key go together"]),
        ("admission: {gate: true}\n", ["admission.gate"]),
        ("lease: a/b/c\n", ["lease", "NAMESPACE/NAME"]),
        ("log_level: loud\n", ["log_level", "loud"]),
        ("placement: {answer: some}\n", ["placement.answer", "some"]),
        ("placement: {colour: red}\n", ["placement.colour"]),
        ("reservation_ttl_s: 0\n", ["reservation_ttl_s"]),
        ("gpu_metrics: {url: prometheus:9090}\n", ["gpu_metrics.url", "prometheus:9090"]),
        ("gpu_metrics: {every_s: 0}\n", ["gpu_metrics.every_s"]),
        ("unheard_of: 1\n", ["unheard_of"]),
        ("[1, 2]\n", ["--config", "mapping"]),
        ("a: [\n", ["--config"]),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, names: list[str]) -> None:
    with pytest.raises(ConfigError) as refused:
        load(written(tmp_path, text))
    for name in names:
        assert name in str(refused.value)


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="/no/such"):
        load(Path("/no/such/file.yaml"))


def test_an_empty_file_says_nothing(tmp_path: Path) -> None:
    assert load(written(tmp_path, "")).model_dump() == load().model_dump()


def test_a_pool_is_placed_as_all_are_unless_it_says_otherwise(tmp_path: Path) -> None:
    settings = load(
        written(
            tmp_path,
            "placement: {gpu: binpack}\npools: {label: example.com/pool, placement: {a100: {gpu: spread}, cpu: {}}}\n",
        )
    )
    assert settings.pools.label == "example.com/pool"
    assert settings.strategies("a100") == (Strategy.SPREAD, Strategy.FRAGMENTATION)
    assert settings.strategies("cpu") == settings.strategies("default") == (Strategy.BINPACK, Strategy.FRAGMENTATION)


def test_a_pool_with_a_strategy_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"pools\.placement\.a100\.gpu"):
        load(written(tmp_path, "pools: {placement: {a100: {gpu: tight}}}\n"))
