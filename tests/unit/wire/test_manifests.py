"""deploy/ is what the code says, kustomize can read it, and it asks for no more than it needs."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from extender.model.workload import WorkloadKind
from extender.wire.grouping import WORKLOADS
from extender.wire.manifests import cert_manager, configuration, definitions, files, render, to_yaml, write
from extender.wire.manifests.access import access
from extender.wire.manifests.definitions import converted
from extender.wire.resources import Project
from extender.wire.workloads import VERSIONS, workload

Json = dict[str, Any]

ADMISSION = "runai-scheduler:admission"
WORKLOAD_ROLE = "runai-scheduler:workloads"
ROOT = Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "deploy"
OBJECTS = render()


def of_kind(*kinds: str) -> list[Json]:
    return [one for one in OBJECTS if one["kind"] in kinds]


def rules() -> Iterator[tuple[str, Json]]:
    for role in of_kind("ClusterRole", "Role"):
        for rule in role["rules"]:
            yield role["metadata"]["name"], rule


def key(one: Json) -> tuple[str, str, str]:
    return one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"]


# The files.


def test_the_committed_files_are_the_generated_ones() -> None:
    committed = {
        path.relative_to(DEPLOY).as_posix(): path.read_text(encoding="utf-8")
        for path in DEPLOY.rglob("*")
        if path.is_file() and path.name != "README.md"
    }
    generated = files()
    assert sorted(committed) == sorted(generated)
    for name, text in generated.items():
        assert committed[name] == text, f"{name} differs: run `make manifests`"


def test_writing_again_changes_nothing(tmp_path: Path) -> None:
    assert {path.relative_to(tmp_path).as_posix() for path in write(tmp_path)} == set(files())
    assert write(tmp_path) == []
    spoilt = tmp_path / "base" / "namespace.yaml"
    spoilt.write_text("x", encoding="utf-8")
    assert write(tmp_path) == [spoilt]


def kubectl() -> str | None:
    assets = os.environ.get("KUBEBUILDER_ASSETS", "/usr/local/kubebuilder/bin")
    return shutil.which("kubectl") or shutil.which("kubectl", path=assets)


@pytest.mark.skipif(kubectl() is None, reason="kubectl is not installed")
def test_kustomize_renders_the_same_objects() -> None:
    binary = kubectl()
    assert binary is not None
    done = subprocess.run(
        [binary, "kustomize", str(DEPLOY / "base")], check=True, capture_output=True, text=True, timeout=60
    )
    rendered = {key(one): one for one in yaml.safe_load_all(done.stdout)}
    generated = next(one for one in rendered.values() if one["kind"] == "ConfigMap")
    hashed = generated["metadata"]["name"]
    plain = next(iter(of_kind("ConfigMap")))["metadata"]["name"]
    assert hashed.startswith(f"{plain}-")
    assert generated["data"]["kube-scheduler.yaml"].endswith(configuration())
    expected = {}
    for one in yaml.safe_load_all(to_yaml(OBJECTS).replace(f"name: {plain}\n", f"name: {hashed}\n")):
        expected[key(one)] = one
    assert sorted(rendered) == sorted(expected)
    for name, one in rendered.items():
        if one["kind"] != "ConfigMap":
            assert one == expected[name]


@pytest.mark.skipif(kubectl() is None, reason="kubectl is not installed")
def test_with_cert_manager_the_files_are_mounted_where_the_settings_say(tmp_path: Path) -> None:
    binary = kubectl()
    assert binary is not None
    shutil.copytree(DEPLOY, tmp_path / "deploy")
    overlay = tmp_path / "overlay"
    overlay.mkdir()
    document = {"resources": ["../deploy/base"], "components": ["../deploy/components/cert-manager"]}
    (overlay / "kustomization.yaml").write_text(yaml.safe_dump(document))
    done = subprocess.run([binary, "kustomize", str(overlay)], check=True, capture_output=True, text=True, timeout=60)
    objects = list(yaml.safe_load_all(done.stdout))
    (certificate,) = [one for one in objects if one["kind"] == "Certificate"]
    (issuer,) = [one for one in objects if one["kind"] == "Issuer"]
    assert certificate["spec"]["issuerRef"]["name"] == issuer["metadata"]["name"]
    assert "runai-scheduler-admission.runai.svc" in certificate["spec"]["dnsNames"]
    name = f"{certificate['metadata']['namespace']}/{certificate['metadata']['name']}"
    for one in objects:
        if one["kind"].endswith("WebhookConfiguration"):
            assert one["metadata"]["annotations"] == {"cert-manager.io/inject-ca-from": name}
            assert one["webhooks"], "the patch must not replace the webhooks"
    (found,) = [one for one in objects if key(one) == ("Deployment", "runai", "runai-scheduler-services")]
    spec = found["spec"]["template"]["spec"]
    (services,) = spec["containers"]
    settings = {one["name"]: one.get("value") for one in services["env"]}
    assert settings["RUNAI_ROLES"] == "admission,workloads"
    (mount,) = [one for one in services["volumeMounts"] if one["name"] == "tls"]
    assert {settings["RUNAI_TLS_CERT"], settings["RUNAI_TLS_KEY"]} == {
        f"{mount['mountPath']}/tls.crt",
        f"{mount['mountPath']}/tls.key",
    }
    (volume,) = [one for one in spec["volumes"] if one["name"] == "tls"]
    assert volume["secret"]["secretName"] == certificate["spec"]["secretName"]


# The objects.


def test_the_order_is_one_that_kubectl_apply_accepts() -> None:
    kinds = [one["kind"] for one in OBJECTS]
    assert kinds[0] == "Namespace"
    assert kinds.index("CustomResourceDefinition") == 1
    assert len({key(one) for one in OBJECTS}) == len(OBJECTS)


def test_crds_alone() -> None:
    assert {one["kind"] for one in render(crds_only=True)} == {"CustomResourceDefinition"}
    assert len(render(crds_only=True)) == len(of_kind("CustomResourceDefinition")) == 15


def test_the_caller_may_change_what_it_gets() -> None:
    first = render()
    first[0]["metadata"]["labels"].clear()
    first[1].clear()
    assert render() == OBJECTS


def test_no_wildcards_in_roles() -> None:
    for name, rule in rules():
        for field in ("apiGroups", "resources", "verbs"):
            assert not any("*" in value for value in rule[field]), (name, rule)
        assert "nonResourceURLs" not in rule


def granted_to(part: str) -> set[tuple[str, str, str]]:
    return {
        (group, resource, verb)
        for role, rule in rules()
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        if {ADMISSION: "admission", WORKLOAD_ROLE: "workloads"}.get(role, "extender") == part
    }


def test_roles_hold_what_the_extender_calls_and_nothing_that_could_do_harm() -> None:
    granted = granted_to("extender")
    assert {verb for _, _, verb in granted} == {"get", "list", "watch", "create", "patch", "update", "delete"}
    assert not {resource for _, resource, _ in granted} & {
        "secrets",
        "serviceaccounts",
        "pods/exec",
    }
    writes = {(resource, verb) for _, resource, verb in granted if verb not in ("get", "list", "watch")}
    assert writes == {
        ("pods", "patch"),
        ("pods", "create"),  # of reservation pods, in their namespace
        ("pods", "delete"),
        *(("configmaps", verb) for verb in ("create", "update", "delete")),  # what tells a container its GPU
        *((resource, "patch") for resources in WORKLOADS.values() for resource in resources),
        ("pods/binding", "create"),
        ("pods/eviction", "create"),
        ("pods/status", "patch"),
        ("namespaces", "create"),
        ("namespaces", "patch"),
        ("departments/status", "patch"),
        ("projects/status", "patch"),
        ("podgroups", "create"),
        ("podgroups/status", "patch"),
        ("events", "create"),
        ("events", "patch"),
        ("leases", "create"),
        ("leases", "update"),
        ("leases", "patch"),
    }


def test_the_extender_makes_pods_in_the_namespace_of_reservations_only() -> None:
    making = {name for name, rule in rules() if rule["resources"] == ["pods"] and "create" in rule["verbs"]}
    making.remove(WORKLOAD_ROLE)
    (role,) = [one for one in of_kind("Role", "ClusterRole") if one["metadata"]["name"] in making]
    assert (role["kind"], role["metadata"]["namespace"]) == ("Role", "runai-reservation")


def test_the_webhook_may_place_nothing_and_touch_one_secret() -> None:
    hooks = {"mutatingwebhookconfigurations", "validatingwebhookconfigurations"}
    converting = ["customresourcedefinitions"] if converted() else []
    policies = sorted(kind.policies for kind in WorkloadKind)
    assert granted_to("admission") == {
        *(("", "namespaces", verb) for verb in ("get", "list", "watch")),
        *(("run.ai", one, verb) for one in policies for verb in ("get", "list", "watch")),
        *(("", "secrets", verb) for verb in ("create", "get", "update")),
        *(("admissionregistration.k8s.io", one, verb) for one in hooks for verb in ("get", "patch")),
        *(("apiextensions.k8s.io", one, verb) for one in converting for verb in ("get", "patch")),
    }
    for name, rule in rules():
        if name == ADMISSION and rule["verbs"] != ["create"] and rule["resources"] not in (["namespaces"], policies):
            names = list(converted()) if rule["resources"] == converting else ["runai-scheduler"]
            assert rule["resourceNames"] in (["runai-scheduler-admission-tls"], names)
    (role,) = [one for one in of_kind("Role") if one["metadata"]["name"] == ADMISSION]
    assert role["metadata"]["namespace"] == "runai"


def test_the_controllers_of_workloads_place_nothing_and_read_no_secrets() -> None:
    granted = granted_to("workloads")
    assert ("pods", "create") in {(resource, verb) for _, resource, verb in granted}
    assert not {resource for _, resource, _ in granted} & {"pods/binding", "pods/eviction", "pods/exec"}
    assert {verb for _, resource, verb in granted if resource == "secrets"} == {"create", "patch", "delete"}
    assert ("run.ai", "trainingworkloads/status", "patch") in granted
    assert ("run.ai", "runaijobs/status", "update") in granted
    # `blockOwnerDeletion`, where the API server has OwnerReferencesPermissionEnforcement.
    owners = {"runaijobs", *(kind.workloads for kind in WorkloadKind)}
    assert {("run.ai", f"{one}/finalizers", "update") for one in owners} <= granted
    assert not {verb for _, resource, verb in granted if resource.endswith("policies")} - {"get", "list", "watch"}


def test_only_our_leases_may_be_written() -> None:
    config = yaml.safe_load(configuration())
    lease = config["leaderElection"]["resourceName"]
    named = {
        role: rule["resourceNames"]
        for role, rule in rules()
        if rule["resources"] == ["leases"] and rule["verbs"] != ["create"]
    }
    assert named == {"runai-scheduler:leader-election": [lease], WORKLOAD_ROLE: ["runai-workloads"]}
    role = next(one for one in of_kind("Role") if "leader" in one["metadata"]["name"])
    assert role["metadata"]["namespace"] == config["leaderElection"]["resourceNamespace"]


def test_every_binding_is_for_our_service_account_and_to_a_role_that_exists() -> None:
    accounts = {one["metadata"]["name"]: one["metadata"]["namespace"] for one in of_kind("ServiceAccount")}
    assert set(accounts) == {"runai-scheduler", "runai-scheduler-services", "gpu-reservation"}
    assert accounts["gpu-reservation"] == "runai-reservation"
    ours = {(one["kind"], one["metadata"]["name"]) for one in of_kind("Role", "ClusterRole")}
    stock = {
        ("ClusterRole", "system:kube-scheduler"),
        ("ClusterRole", "system:volume-scheduler"),
        ("Role", "extension-apiserver-authentication-reader"),
    }
    bound = set()
    for binding in of_kind("RoleBinding", "ClusterRoleBinding"):
        (subject,) = binding["subjects"]
        assert subject["kind"] == "ServiceAccount"
        assert accounts[subject["name"]] == subject["namespace"]
        role = binding["roleRef"]["name"]
        assert (subject["name"] == "runai-scheduler-services") == (role in (ADMISSION, WORKLOAD_ROLE))
        assert (subject["name"] == "gpu-reservation") == (role == "runai-scheduler:gpu-reservation")
        bound.add((binding["roleRef"]["kind"], role))
    assert bound == ours | stock


def test_priority_classes_never_preempt_in_tree() -> None:
    classes = {
        one["metadata"]["name"]: (one["value"], one["preemptionPolicy"], one["globalDefault"])
        for one in of_kind("PriorityClass")
    }
    assert classes == {
        "inference": (125, "Never", False),
        "build": (100, "Never", False),
        "interactive-preemptible": (75, "Never", False),
        "train": (50, "Never", False),
    }
    assert all(one["description"] for one in of_kind("PriorityClass"))


# The Pod.


PODS = {"scheduler": "runai-scheduler", "services": "runai-scheduler-services"}


def deployment(component: str) -> Json:
    (found,) = [one for one in of_kind("Deployment") if one["metadata"]["name"] == PODS[component]]
    return found


def pod(component: str = "scheduler") -> Json:
    deployment_ = deployment(component)
    assert deployment_["spec"]["replicas"] == 2
    spec: Json = deployment_["spec"]["template"]["spec"]
    return spec


def container(name: str) -> Json:
    found: list[Json] = [one for part in PODS for one in pod(part)["containers"] if one["name"] == name]
    return found[0]


@pytest.mark.parametrize("component", PODS)
def test_containers_keep_to_the_restricted_pod_security_standard(component: str) -> None:
    spec = pod(component)
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for one in spec["containers"]:
        assert one["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert one["resources"]["requests"].keys() == {"cpu", "memory"}
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert f"\nUSER {spec['securityContext']['runAsUser']}:{spec['securityContext']['runAsGroup']}\n" in dockerfile


def test_images_name_no_registry() -> None:
    images = [one["image"] for part in PODS for one in pod(part)["containers"]]
    assert {image.partition(":")[0] for image in images} == {"runai-scheduler", "kube-scheduler"}
    assert not any("/" in image for image in images)


def test_probes() -> None:
    extender, scheduler = container("extender"), container("kube-scheduler")
    ports = {one["name"]: one["containerPort"] for one in extender["ports"] + scheduler["ports"]}
    assert ports == {"metrics": 9090, "https": 10259}
    assert extender["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "metrics", "scheme": "HTTP"}
    assert extender["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "metrics", "scheme": "HTTP"}
    assert scheduler["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "https", "scheme": "HTTPS"}


@pytest.mark.parametrize("component", PODS)
def test_selectors_find_the_pod_and_no_other(component: str) -> None:
    labels = deployment(component)["spec"]["template"]["metadata"]["labels"]
    wanted = {"app.kubernetes.io/name": "runai-scheduler", "app.kubernetes.io/component": component}
    assert wanted.items() <= labels.items()
    selectors = [
        deployment(component)["spec"]["selector"]["matchLabels"],
        pod(component)["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"],
    ]
    for one in of_kind("Service", "PodDisruptionBudget"):
        if one["metadata"]["labels"]["app.kubernetes.io/component"] == component:
            selectors.append(one["spec"]["selector"].get("matchLabels", one["spec"]["selector"]))
    assert len(selectors) == {"scheduler": 4, "services": 5}[component]
    assert all(selector == wanted for selector in selectors)


@pytest.mark.parametrize(("name", "roles"), [("extender", "extender"), ("services", "admission,workloads")])
def test_each_pod_runs_its_roles(name: str, roles: str) -> None:
    settings = {one["name"]: one.get("value") for one in container(name)["env"]}
    assert settings["RUNAI_ROLES"] == roles


# The webhook.


def hooks() -> list[Json]:
    configurations = of_kind("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")
    assert {one["metadata"]["name"] for one in configurations} == {"runai-scheduler"}
    return [webhook for one in configurations for webhook in one["webhooks"]]


def of_ours(webhook: Json) -> bool:
    """Whether it is the one for workloads and policies, which the system itself has none of that it waits for."""
    return webhook["name"] == "workloads.admission.run.ai"


def test_templates_and_policies_for_all_projects_are_judged_too() -> None:
    (ours,) = [one for one in hooks() if of_ours(one)]
    assert ours["namespaceSelector"] == {"matchExpressions": []}
    assert len(ours["rules"][0]["resources"]) == 10


def test_webhooks_fail_closed_and_fast_for_new_objects_only() -> None:
    assert len(hooks()) == 8
    for webhook in hooks():
        assert webhook["failurePolicy"] == "Fail"
        assert webhook["sideEffects"] == "None"
        assert 2 <= webhook["timeoutSeconds"] <= 3
        assert "caBundle" not in webhook["clientConfig"]
        for rule in webhook["rules"]:
            if rule["resources"] == ["pods"]:
                assert rule["operations"] == ["CREATE"]
            elif webhook["name"] == "workloads.admission.run.ai":
                assert rule["operations"] == ["CREATE", "UPDATE"]
                assert rule["apiVersions"] == list(VERSIONS)
                # A finalizer comes off whether we are there or not.
                assert [one["name"] for one in webhook["matchConditions"]] == ["new-spec"]
            elif "UPDATE" in rule["operations"]:
                # Of templates only those that change: nothing else is held up by us.
                concerns, is_new = webhook["matchConditions"]
                assert concerns["name"] in ("ours", "ours-or-a-part")
                assert is_new["name"] == "new-template"


def test_templates_of_every_kind_are_asked_about() -> None:
    kinds = {"deployments", "replicasets", "statefulsets", "jobs", "cronjobs", "runaijobs"}
    for path in ("mutate", "validate"):
        asked = [one for one in hooks() if one["clientConfig"]["service"]["path"].endswith(path) and not of_ours(one)]
        assert {kind for one in asked for rule in one["rules"] for kind in rule["resources"]} == {"pods", *kinds}


def test_the_system_and_the_control_plane_do_not_wait_for_the_webhook() -> None:
    for webhook in (one for one in hooks() if not of_ours(one)):
        exempt = webhook["namespaceSelector"]["matchExpressions"][0]
        assert (exempt["key"], exempt["operator"]) == ("kubernetes.io/metadata.name", "NotIn")
        assert set(exempt["values"]) == {"kube-system", "runai", "runai-reservation"}


def test_pods_of_others_are_asked_about_in_projects_only() -> None:
    for webhook in (one for one in hooks() if one["rules"][0]["resources"] == ["pods"]):
        (condition,) = webhook["matchConditions"]
        if condition["expression"] != "object.spec.schedulerName == 'runai-scheduler'":
            assert {"key": "runai/queue", "operator": "Exists"} in webhook["namespaceSelector"]["matchExpressions"]


def test_the_api_server_finds_the_webhook() -> None:
    (service,) = [one for one in of_kind("Service") if one["metadata"]["name"] == "runai-scheduler-admission"]
    (port,) = service["spec"]["ports"]
    ports = {one["name"]: one["containerPort"] for one in container("services")["ports"]}
    assert ports[port["targetPort"]] == 9443
    for webhook in hooks():
        reference = webhook["clientConfig"]["service"]
        assert (reference["namespace"], reference["name"]) == ("runai", service["metadata"]["name"])
        assert reference["port"] == port["port"]


def test_the_extender_follows_the_lease_that_kube_scheduler_holds() -> None:
    election = yaml.safe_load(configuration())["leaderElection"]
    settings = {one["name"]: one["value"] for one in container("extender")["env"]}
    assert settings["RUNAI_LEASE"] == f"{election['resourceNamespace']}/{election['resourceName']}"
    # The verbs are where kube-scheduler calls them, and nowhere else.
    assert settings["RUNAI_EXTENDER_ADDRESS"] == "127.0.0.1:8888"


def test_the_pod_outlives_the_binds_under_way() -> None:
    bind = yaml.safe_load(configuration())["extenders"][1]
    assert pod()["terminationGracePeriodSeconds"] > int(bind["httpTimeout"].removesuffix("s"))


def test_kube_scheduler_reads_the_configuration_that_is_mounted() -> None:
    (config_map,) = of_kind("ConfigMap")
    (mount,) = container("kube-scheduler")["volumeMounts"]
    (file_name,) = config_map["data"]
    assert f"--config={mount['mountPath']}/{file_name}" in container("kube-scheduler")["args"]
    volume = next(one for one in pod()["volumes"] if one["name"] == mount["name"])
    assert volume["configMap"]["name"] == config_map["metadata"]["name"]
    assert "--feature-gates=SchedulerPopFromBackoffQ=false" in container("kube-scheduler")["args"]


def test_flow_schemas_use_levels_that_every_cluster_has() -> None:
    levels = {
        one["metadata"]["name"]: (
            one["spec"]["priorityLevelConfiguration"]["name"],
            one["spec"]["matchingPrecedence"],
        )
        for one in of_kind("FlowSchema")
    }
    leases = levels.pop("runai-scheduler-leases")
    assert leases == ("leader-election", 850)
    assert levels == {"runai-scheduler": ("workload-high", 900)}


# The kube-scheduler configuration.


def test_the_kube_scheduler_configuration() -> None:
    both = {
        "urlPrefix": "http://127.0.0.1:8888/extender",
        "nodeCacheCapable": True,
        "ignorable": False,
    }
    assert yaml.safe_load(configuration()) == {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "leaderElection": {
            "leaderElect": True,
            "resourceNamespace": "runai",
            "resourceName": "runai-scheduler",
        },
        "clientConnection": {"qps": 200, "burst": 400},
        "percentageOfNodesToScore": 100,
        "podInitialBackoffSeconds": 1,
        "podMaxBackoffSeconds": 10,
        "profiles": [
            {
                "schedulerName": "runai-scheduler",
                "plugins": {"postFilter": {"disabled": [{"name": "DefaultPreemption"}]}},
            }
        ],
        "extenders": [
            {
                **both,
                "filterVerb": "filter",
                "prioritizeVerb": "prioritize",
                "preemptVerb": "preempt",
                "weight": 150,
                "httpTimeout": "2s",
            },
            {**both, "bindVerb": "bind", "httpTimeout": "60s"},
        ],
    }


def test_kinds_of_several_versions_trust_the_webhook(monkeypatch: pytest.MonkeyPatch) -> None:
    two = tuple(workload(WorkloadKind.TRAINING, version) for version in VERSIONS)
    monkeypatch.setattr(definitions, "kinds", lambda: [(Project,), two])
    assert converted() == ("trainingworkloads.run.ai",)
    (only,) = [
        rule["resourceNames"]
        for role in access()
        for rule in role.get("rules", ())
        if rule["resources"] == ["customresourcedefinitions"]
    ]
    assert only == ["trainingworkloads.run.ai"]
    (injected,) = [one for one in cert_manager.patches() if one["kind"] == "CustomResourceDefinition"]
    assert injected["metadata"] == {
        "name": "trainingworkloads.run.ai",
        "annotations": {"cert-manager.io/inject-ca-from": "runai/runai-scheduler-admission"},
    }
    monkeypatch.setattr(definitions, "kinds", lambda: [(Project,)])
    assert not any("customresourcedefinitions" in str(role) for role in access()), "no names would mean every name"
