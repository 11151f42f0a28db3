"""Jobs, StatefulSets, Deployments and their kin: defaults, generated selectors, validation of what they contain."""

from __future__ import annotations

from collections.abc import Iterator

from extender.emulator import names, podspec
from extender.emulator.resources import JSON
from extender.emulator.selectors import label_selector, selects
from extender.emulator.status import Cause, forbidden_field, invalid_value, not_supported, required

CONTROLLER_UID = "batch.kubernetes.io/controller-uid"
JOB_NAME = "batch.kubernetes.io/job-name"


def _template(spec: JSON) -> JSON:
    template: JSON = spec.setdefault("template", {})
    template.setdefault("metadata", {})
    podspec.set_defaults(template.setdefault("spec", {}))
    return template


def default_job(job: JSON) -> None:
    """Defaults of a Job; a Job without labels takes those of its pods."""
    spec = job.setdefault("spec", {})
    default_job_spec(spec)
    labels = spec["template"]["metadata"].get("labels")
    if labels and not job["metadata"].get("labels"):
        job["metadata"]["labels"] = dict(labels)


def default_job_spec(spec: JSON) -> None:
    """Defaults of a JobSpec: one pod unless said otherwise, six retries."""
    if "completions" not in spec and "parallelism" not in spec:
        spec["completions"] = 1
    spec.setdefault("parallelism", 1)
    spec.setdefault("backoffLimit", 6)
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    spec.setdefault("podReplacementPolicy", "Failed" if spec.get("podFailurePolicy") else "TerminatingOrFailed")
    _template(spec)


def prepare_job(job: JSON) -> None:
    """Generate the selector and the labels that tie pods to this Job, unless the user manages them."""
    job["status"] = {}
    spec, metadata = job["spec"], job["metadata"]
    if spec.get("manualSelector"):
        return
    labels = spec["template"]["metadata"].setdefault("labels", {})
    uid, name = metadata["uid"], metadata["name"]
    for key, value in (("controller-uid", uid), ("job-name", name), (CONTROLLER_UID, uid), (JOB_NAME, name)):
        labels.setdefault(key, value)
    # The real server repeats its defaulting when it reads the stored object, which is when the labels arrive here.
    if not metadata.get("labels"):
        metadata["labels"] = dict(labels)
    selector = spec.setdefault("selector", {})
    selector.setdefault("matchLabels", {}).setdefault(CONTROLLER_UID, uid)


def validate_job(job: JSON) -> Iterator[Cause]:
    """The broken rules of a Job."""
    yield from _validate_job_spec(job["spec"], "spec")
    yield from _validate_selector(job["spec"], "spec")
    name = job["metadata"].get("name", "")
    if len(name) > 63:
        # The name becomes a label value of the pods.
        yield invalid_value("metadata.name", name, "must be no more than 63 bytes")


def _validate_job_spec(spec: JSON, path: str) -> Iterator[Cause]:
    for field in (
        "parallelism",
        "completions",
        "backoffLimit",
        "activeDeadlineSeconds",
        "ttlSecondsAfterFinished",
    ):
        if spec.get(field, 0) < 0:
            yield invalid_value(f"{path}.{field}", spec[field], "must be greater than or equal to 0")
    if spec["completionMode"] not in ("NonIndexed", "Indexed"):
        yield not_supported(f"{path}.completionMode", spec["completionMode"], ("Indexed", "NonIndexed"))
    if spec["completionMode"] == "Indexed" and "completions" not in spec:
        detail = f"when completion mode is {spec['completionMode']}"
        yield required(f"{path}.completions", detail)
    pod = spec["template"]["spec"]
    if pod.get("restartPolicy") not in ("OnFailure", "Never"):
        yield required(f"{path}.template.spec.restartPolicy", 'valid values: "OnFailure", "Never"')
    yield from _validate_template(spec["template"], f"{path}.template")


def validate_job_update(new: JSON, old: JSON) -> Iterator[Cause]:
    """Changes of a Job that are not allowed: its selector, its template once it has started, its completions."""
    after, before = new["spec"], old["spec"]
    fixed = ["selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy"]
    if after.get("completionMode") != "Indexed":
        fixed.append("completions")
    for field in fixed:
        if after.get(field) != before.get(field):
            yield invalid_value(f"spec.{field}", after.get(field), "field is immutable")
    template, template_before = after.get("template"), before.get("template")
    if template != template_before:
        waiting = before.get("suspend") and not (old.get("status") or {}).get("startTime")
        if not waiting or not _differ_in_placement_only(template or {}, template_before or {}):
            yield invalid_value("spec.template", template, "field is immutable")


def _differ_in_placement_only(new: JSON, old: JSON) -> bool:
    """Whether two templates differ only in what a queue may change while the Job is suspended."""
    placement = ("nodeSelector", "affinity", "tolerations", "schedulingGates")

    def rest(template: JSON) -> JSON:
        spec = {key: value for key, value in (template.get("spec") or {}).items() if key not in placement}
        metadata = {
            key: value
            for key, value in (template.get("metadata") or {}).items()
            if key not in ("labels", "annotations")
        }
        # 1.36 lets a queue resize a suspended Job, too.
        spec["containers"] = [
            {key: value for key, value in container.items() if key != "resources"}
            for container in spec.get("containers") or ()
        ]
        return {"spec": spec, "metadata": metadata}

    return rest(new) == rest(old)


def default_cron_job(cron_job: JSON) -> None:
    spec = cron_job.setdefault("spec", {})
    spec.setdefault("concurrencyPolicy", "Allow")
    spec.setdefault("suspend", False)
    spec.setdefault("successfulJobsHistoryLimit", 3)
    spec.setdefault("failedJobsHistoryLimit", 1)
    template = spec.setdefault("jobTemplate", {})
    template.setdefault("metadata", {})
    default_job_spec(template.setdefault("spec", {}))


def validate_cron_job(cron_job: JSON) -> Iterator[Cause]:
    spec = cron_job["spec"]
    if not spec.get("schedule"):
        yield required("spec.schedule")
    yield from _validate_job_spec(spec["jobTemplate"]["spec"], "spec.jobTemplate.spec")


def default_deployment(deployment: JSON) -> None:
    spec = deployment.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    strategy = spec.setdefault("strategy", {})
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", "25%")
        rolling.setdefault("maxSurge", "25%")
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)
    _template(spec)


def default_replica_set(replica_set: JSON) -> None:
    spec = replica_set.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    _template(spec)


def default_stateful_set(stateful_set: JSON) -> None:
    spec = stateful_set.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    spec.setdefault("podManagementPolicy", "OrderedReady")
    spec.setdefault("revisionHistoryLimit", 10)
    strategy = spec.setdefault("updateStrategy", {})
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        strategy.setdefault("rollingUpdate", {}).setdefault("partition", 0)
    retention = spec.setdefault("persistentVolumeClaimRetentionPolicy", {})
    retention.setdefault("whenDeleted", "Retain")
    retention.setdefault("whenScaled", "Retain")
    for claim in spec.get("volumeClaimTemplates") or ():
        claim.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")
        claim.setdefault("status", {"phase": "Pending"})
    _template(spec)


def default_daemon_set(daemon_set: JSON) -> None:
    spec = daemon_set.setdefault("spec", {})
    strategy = spec.setdefault("updateStrategy", {})
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", 1)
        rolling.setdefault("maxSurge", 0)
    spec.setdefault("revisionHistoryLimit", 10)
    _template(spec)


def validate_replicated(workload: JSON) -> Iterator[Cause]:
    """The rules that Deployments, StatefulSets, ReplicaSets and DaemonSets share."""
    spec = workload["spec"]
    if spec.get("replicas", 0) < 0:
        yield invalid_value("spec.replicas", spec["replicas"], "must be greater than or equal to 0")
    if not spec.get("selector"):
        yield required("spec.selector")
    yield from _validate_selector(spec, "spec")
    policy = spec["template"]["spec"].get("restartPolicy")
    if policy != "Always":
        yield not_supported("spec.template.spec.restartPolicy", policy, ("Always",))
    yield from _validate_template(spec["template"], "spec.template")


def validate_selector_update(new: JSON, old: JSON) -> Iterator[Cause]:
    """The selector of a Deployment, ReplicaSet or DaemonSet stays what it was."""
    selector = new["spec"].get("selector")
    if selector != old["spec"].get("selector"):
        yield invalid_value("spec.selector", selector, "field is immutable")


_STATEFUL_SET_MUTABLE = frozenset(
    [
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    ]
)


def validate_stateful_set_update(new: JSON, old: JSON) -> Iterator[Cause]:
    after, before = new["spec"], old["spec"]
    changed = {key for key in after.keys() | before.keys() if after.get(key) != before.get(key)}
    if changed - _STATEFUL_SET_MUTABLE:
        detail = (
            "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
            "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
        )
        yield forbidden_field("spec", detail)


def _validate_selector(spec: JSON, path: str) -> Iterator[Cause]:
    labels = spec["template"]["metadata"].get("labels") or {}
    selector = spec.get("selector")
    if selector and not selects(label_selector(selector), labels):
        detail = "`selector` does not match template `labels`"
        yield invalid_value(f"{path}.template.metadata.labels", labels, detail)


def _validate_template(template: JSON, path: str) -> Iterator[Cause]:
    yield from names.validate_labels(template["metadata"].get("labels") or {}, f"{path}.labels")
    yield from podspec.validate(template["spec"], f"{path}.spec")
