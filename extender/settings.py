"""Every setting, with its unit, its default and the reason for it. Flags win over RUNAI_* over the YAML file."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from extender.errors import ConfigError
from extender.model import names
from extender.model.amounts import cpu_milli, memory_mib
from extender.packing.strategy import Strategy
from extender.workloads.objects import Backend, Images

Role = Literal["extender", "admission", "workloads"]
ROLES: tuple[Role, ...] = ("extender", "admission", "workloads")


class PlacementSettings(BaseModel):
    """Where pods go."""

    model_config = ConfigDict(extra="forbid")

    answer: Literal["seat", "all"] = Field(
        "seat",
        description="`seat`: filter answers with the one node it holds; `all`: with every fitting node.",
    )
    gpu: Strategy = Field(Strategy.FRAGMENTATION, description="Strategy for pods with GPUs.")
    cpu: Strategy = Field(Strategy.FRAGMENTATION, description="Strategy for pods without GPUs.")


def _cpu_milli(value: object) -> int:
    return cpu_milli(str(value), up=True)


def _memory_mib(value: object) -> int:
    return memory_mib(str(value), up=True)


CpuMilli = Annotated[int, BeforeValidator(_cpu_milli), Field(ge=0)]
MemoryMib = Annotated[int, BeforeValidator(_memory_mib), Field(ge=0)]


class LimitRangeSettings(BaseModel):
    """CPU and memory, by GPU, of containers that ask for GPUs and say nothing of either. All four or none; 0: nothing.

    Quantities such as 1, 500m or 100Mi. Their names in camel case, as Run:ai documents them, are taken as well.
    """

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, populate_by_name=True)

    cpu_default_request_gpu_factor: CpuMilli = Field(description="CPU requested.")
    memory_default_request_gpu_factor: MemoryMib = Field(description="Memory requested.")
    cpu_default_limit_gpu_factor: CpuMilli = Field(description="CPU at most.")
    memory_default_limit_gpu_factor: MemoryMib = Field(description="Memory at most.")

    @model_validator(mode="after")
    def _limits_allow_requests(self) -> LimitRangeSettings:
        for what in ("cpu", "memory"):
            request, limit = (getattr(self, f"{what}_default_{which}_gpu_factor") for which in ("request", "limit"))
            if 0 < limit < request:
                raise ValueError(f"{what}_default_limit_gpu_factor is below {what}_default_request_gpu_factor")
        return self


def _documented_factors() -> LimitRangeSettings:
    return LimitRangeSettings(
        cpu_default_request_gpu_factor="1",
        memory_default_request_gpu_factor="100Mi",
        cpu_default_limit_gpu_factor="0",
        memory_default_limit_gpu_factor="0",
    )


class AdmissionSettings(BaseModel):
    """What the webhook does to new pods."""

    model_config = ConfigDict(extra="forbid")

    gates: bool = Field(True, description="Hold pods of ours back with a scheduling gate until their seat is planned.")
    guard_devices: bool = Field(
        False,
        description="Refuse pods that set NVIDIA_VISIBLE_DEVICES themselves, and blind containers without a GPU.",
    )
    limit_range: LimitRangeSettings = Field(
        default_factory=_documented_factors,
        validation_alias=AliasChoices("limit_range", "limitRange"),
        description="CPU and memory of containers that ask for GPUs and say nothing of either.",
    )


class GpuSharingSettings(BaseModel):
    """How pods share GPUs (docs/gpu-sharing.md)."""

    model_config = ConfigDict(extra="forbid")

    enabled: bool = Field(True, description="Off: pods that ask for a part of a GPU are refused.")
    reservations: bool = Field(
        True,
        description="Hold a shared device with a pod of ours, so that the kubelet gives it to nobody else. Off, only "
        "our own books know of it: for clusters without a device plugin.",
    )
    image: str = Field("", description="Image of those pods. Empty: that of the Pod we run in, else our own name.")
    runtime_class: str = Field("", description="RuntimeClass of those pods, where GPUs need one, as `nvidia`.")
    priority_class: str = Field(
        "system-node-critical",
        description="PriorityClass of those pods: high, or others are made room for at their expense.",
    )
    cdi: bool = Field(False, description="Name devices as the device plugin's CDI strategies do.")
    timeout_s: float = Field(
        20.0,
        gt=0,
        description="A bind fails when its device is not held by then. With `bind_timeout_s` below the 60 s that "
        "kube-scheduler waits.",
    )
    takeover_s: float = Field(
        15.0,
        ge=0,
        description="What is reserved when a replica becomes active does not go for want of sharers at first: a "
        "Binding of the one before may still be on its way.",
    )


class PoolPlacement(BaseModel):
    """Where pods go in one node pool; what is not said is as in `placement`."""

    model_config = ConfigDict(extra="forbid")

    gpu: Strategy | None = Field(None, description="Strategy for pods with GPUs.")
    cpu: Strategy | None = Field(None, description="Strategy for pods without GPUs.")


class PoolSettings(BaseModel):
    """What makes a node pool."""

    model_config = ConfigDict(extra="forbid")

    label: str = Field(
        names.NODE_POOL_LABEL,
        min_length=1,
        description="The node label whose value is the node's pool; nodes without it are the pool `default`.",
    )
    placement: dict[str, PoolPlacement] = Field(
        default_factory=dict, description="Strategies by pool, where they differ from `placement`."
    )


class GpuMetricsSettings(BaseModel):
    """Where the use of GPUs is asked for; idle time limits of projects need it."""

    model_config = ConfigDict(extra="forbid")

    url: str = Field(
        "",
        pattern="^(https?://.+)?$",
        description="Prometheus, as in http://prometheus.monitoring:9090. Empty: idle time limits are not enforced.",
    )
    query: str = Field(
        "",
        description=(
            "PromQL whose series name pods (labels `namespace` and `pod`, or `exported_…`), and by `UUID` devices that "
            "pods share, and are 0 when there was nothing to do for three times `every_s` and `timeout_s`. Empty: by "
            "DCGM_FI_DEV_GPU_UTIL."
        ),
    )
    every_s: float = Field(30.0, gt=0, description="Between two samples.")
    timeout_s: float = Field(10.0, gt=0, description="An answer that takes longer counts as none.")

    @property
    def bridge_s(self) -> float:
        """The longest time between two samples of which the later one still tells: one may be missing."""
        return 3 * self.every_s

    @property
    def look_back_s(self) -> float:
        """How far a query has to look back for that: samples may be as old as an answer may be slow."""
        return self.bridge_s + self.timeout_s


class WorkloadsSettings(BaseModel):
    """What workload resources become."""

    model_config = ConfigDict(extra="forbid")

    backend: Backend = Field(
        Backend.RUNAI,
        description=(
            "RunaiJob: interactive and training work as a RunaiJob. Kubernetes: interactive work as a StatefulSet, "
            "which starts a pod that ends again, and training as a Job."
        ),
    )
    git_sync_image: str = Field(Images().git_sync, description="Checks git repositories out, as git-sync does.")
    s3_image: str = Field(Images().s3, description="Copies buckets; its entrypoint is rclone.")

    @property
    def images(self) -> Images:
        return Images(git_sync=self.git_sync_image, s3=self.s3_image)


class Settings(BaseSettings):
    """One value of each setting; make it with `load`."""

    model_config = SettingsConfigDict(env_prefix="RUNAI_", env_nested_delimiter="__", extra="forbid")

    kubeconfig: str | None = Field(None, description="File; else $KUBECONFIG, else the in-cluster account.")
    roles: Annotated[tuple[Role, ...], NoDecode] = Field(
        ROLES, description="Parts of the service that this process runs, separated by commas."
    )
    extender_address: str = Field("127.0.0.1:8888", description="Verbs. Loopback: kube-scheduler runs in the same Pod.")
    admission_address: str = Field("0.0.0.0:9443", description="The admission webhook, over TLS.")
    tls_cert: Path | None = Field(None, description="PEM file to serve the webhook with; none: we sign one ourselves.")
    tls_key: Path | None = Field(None, description="Its key. Both files are read again when they change.")
    namespace: str = Field(names.SYSTEM_NAMESPACE, description="Where we are installed: of our Secret and Service.")
    metrics_address: str = Field("0.0.0.0:9090", description="/metrics, /healthz, /readyz, /snapshot.")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    cluster_id: str = Field("", description="Label `clusterId` of the metrics.")
    create_namespaces: bool = Field(True, description="Make and label a project's namespace.")
    create_pod_groups: bool = Field(
        True, description="Make PodGroups for pods that name none, twenty a second at most. Decisions wait for none."
    )
    lease: str = Field(
        "",
        description="namespace/name of kube-scheduler's Lease; only beside its holder do we write. Empty: always.",
    )
    identity: str = Field(
        default_factory=socket.gethostname,
        description="Host name that kube-scheduler holds its Lease with, and we hold that of the workloads role with.",
    )
    workloads_lease: str = Field(
        names.WORKLOADS_LEASE,
        description="Lease in `namespace` whose holder alone runs the workloads role's controllers. Empty: always.",
    )
    workloads: WorkloadsSettings = Field(default_factory=WorkloadsSettings)
    placement: PlacementSettings = Field(default_factory=PlacementSettings)
    admission: AdmissionSettings = Field(default_factory=AdmissionSettings)
    gpu_sharing: GpuSharingSettings = Field(default_factory=GpuSharingSettings)
    pools: PoolSettings = Field(default_factory=PoolSettings)
    gpu_metrics: GpuMetricsSettings = Field(default_factory=GpuMetricsSettings)
    bind_timeout_s: float = Field(
        30.0, gt=0, description="All tries of one bind together: half of the 60 s that kube-scheduler waits."
    )
    reservation_ttl_s: float = Field(
        120.0, gt=0, description="A seat nobody binds is given back: twice kube-scheduler's bind time-out."
    )
    max_evictions: int | None = Field(
        256, gt=0, description="Pods evicted at most for one gang; `null` for any number. What needs more waits."
    )
    stale_gang_after_s: float = Field(
        60.0, description="A gang with fewer pods than its minimum for longer is evicted; below 0: never."
    )
    stale_after_s: float = Field(
        30.0, gt=0, description="With a watch down for longer, filter answers `Error` instead of guessing."
    )
    max_body_bytes: int = Field(16 * 1024 * 1024, gt=0, description="A pod may be 1.5 MB, its node list as much again.")

    def strategies(self, pool: str) -> tuple[Strategy, Strategy]:
        """How pods with and without GPUs are placed in a node pool."""
        own = self.pools.placement.get(pool, PoolPlacement())
        return own.gpu or self.placement.gpu, own.cpu or self.placement.cpu

    @field_validator("roles", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            value = [part.strip() for part in value.split(",") if part.strip()]
        if value in ([], ()):
            raise ValueError(f"at least one role of {', '.join(ROLES)}")
        return value

    @model_validator(mode="after")
    def _is_pair(self) -> Settings:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key go together: give both or neither")
        return self

    @field_validator("extender_address", "admission_address", "metrics_address")
    @classmethod
    def _is_address(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if not host or not port.isdigit() or int(port) > 65535:
            raise ValueError(f"{value!r} is not HOST:PORT, as in 127.0.0.1:8888")
        return value

    @field_validator("lease")
    @classmethod
    def _is_lease(cls, value: str) -> str:
        if value and value.count("/") != 1:
            raise ValueError(f"{value!r} is not NAMESPACE/NAME, as in runai/runai-scheduler")
        return value


def load(config: Path | None = None, **flags: Any) -> Settings:
    """Settings from flags (None is "not given"), RUNAI_* and the YAML file `config`, in that order.

    Raises ConfigError that names the setting, its value and what would be right.
    """
    values: dict[str, Any] = {}
    if config is not None:
        try:
            values = yaml.safe_load(config.read_text()) or {}
        except (OSError, yaml.YAMLError) as error:
            raise ConfigError(f"--config {config}: {error}") from error
        if not isinstance(values, dict):
            raise ConfigError(f"--config {config}: must be a mapping of settings, as in `log_level: info`")

    class WithFile(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  the caller's signature
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, env_settings, InitSettingsSource(settings_cls, values)

    try:
        settings: Settings = WithFile(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        lines = "; ".join(
            f"{'.'.join(map(str, item['loc']))}: {item['msg']} (given: {item['input']!r})" for item in error.errors()
        )
        raise ConfigError(lines) from error
    if settings.kubeconfig is None and os.environ.get("KUBECONFIG"):
        return settings.model_copy(update={"kubeconfig": os.environ["KUBECONFIG"]})
    return settings
