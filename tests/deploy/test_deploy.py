"""What deploy/ says fits its schemas, the parts that there are, and the settings that they read."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ghasi.auth.signing_keys import PUBLICATION_LEAD
from ghasi.commands.application import app
from ghasi.contract.row import Upstream
from ghasi.processes.hosting import WORKERS
from ghasi.settings import Settings, variable_of

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
BIN = Path(sys.executable).parent
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
EMITTED = KUBERNETES / "kong" / "declarative.yaml"
KUSTOMIZATIONS = sorted(KUBERNETES.rglob("kustomization.yaml"))
MANIFESTS = sorted(set(KUBERNETES.rglob("*.yaml")) - {EMITTED, *KUSTOMIZATIONS})
OBJECTS: list[dict[str, Any]] = [
    item for file in MANIFESTS for item in yaml.safe_load_all(file.read_text()) if item is not None
]
OF_KONG = {"GHASI_REDIS_PASSWORD"}
"""What kong.yaml reads from the environment and Ghasi's own parts do not."""
EXAMPLE = {
    line.partition("=")[0]: line.partition("=")[2]
    for line in (DEPLOY / ".env.example").read_text().splitlines()
    if line and not line.startswith("#")
}
PARTS = {f"serve {upstream}" for upstream in Upstream} | {"serve portal"} | {f"work {name}" for name in WORKERS}


def checked(*command: str) -> None:
    done = subprocess.run(
        [BIN / command[0], *command[1:]], capture_output=True, text=True, check=False, cwd=ROOT, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def containers(item: dict[str, Any]) -> list[dict[str, Any]]:
    template = item.get("spec", {}).get("template", {})
    return [*template.get("spec", {}).get("initContainers", ()), *template.get("spec", {}).get("containers", ())]


def ours() -> list[tuple[str, list[str], dict[str, Any]]]:
    """Each of our containers: where, its arguments, its description."""
    composed = [
        (f"compose {name}", service["command"], service)
        for name, service in COMPOSE["services"].items()
        if service.get("image", "").startswith("ghasi:")
    ]
    clustered = [
        (f"kubernetes {item['metadata']['name']}", container["args"], container)
        for item in OBJECTS
        for container in containers(item)
        if container["image"] == "ghasi"
    ]
    return composed + clustered


def named(kind: str) -> dict[tuple[str, str], dict[str, Any]]:
    return {(item["metadata"]["namespace"], item["metadata"]["name"]): item for item in OBJECTS if item["kind"] == kind}


def test_compose_fits_its_schema() -> None:
    checked("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "deploy/compose.yaml")


def test_manifests_fit_kubernetes_schemas() -> None:
    checked("kubernetes-validate", "--strict", "--quiet", *map(str, MANIFESTS))


def test_the_dockerfile_is_sound() -> None:
    checked("hadolint", "Dockerfile")


def resources_of(folder: Path) -> set[Path]:
    """All files that a kustomization takes in, with what its generators read."""
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    found: set[Path] = set()
    for name in kustomization["resources"]:
        path = (folder / name).resolve()
        found |= resources_of(path) if path.is_dir() else {path}
    for generator in kustomization.get("configMapGenerator", ()):
        found |= {folder / file.rpartition("=")[2] for file in generator["files"]}
    return found


def test_kustomize_leaves_nothing_out_and_names_nothing_that_is_not_there() -> None:
    data = [KUBERNETES / "engines" / "databases.sql", EMITTED]
    assert resources_of(KUBERNETES) == {*MANIFESTS, *data}
    engines = {file for file in MANIFESTS if file.parent.name == "engines"}
    assert resources_of(KUBERNETES / "managed") == {*MANIFESTS, EMITTED} - engines
    generators = [
        generator
        for file in KUSTOMIZATIONS
        for generator in yaml.safe_load(file.read_text()).get("configMapGenerator", ())
    ]
    made = {(generator["namespace"], generator["name"]) for generator in generators}
    wanted = {
        (item["metadata"]["namespace"], volume["configMap"]["name"])
        for item in OBJECTS
        for volume in item.get("spec", {}).get("template", {}).get("spec", {}).get("volumes", ())
        if "configMap" in volume
    }
    assert made < wanted <= made | named("ConfigMap").keys()


@pytest.mark.parametrize("where", ["compose", "kubernetes"])
def test_every_part_is_deployed(where: str) -> None:
    commands = {" ".join(arguments[:2]) for place, arguments, _ in ours() if place.startswith(where)}
    assert commands == PARTS | {"migrate", "kong sync"}


@pytest.mark.parametrize(("place", "arguments"), [(place, arguments) for place, arguments, _ in ours()])
def test_every_command_is_one_that_ghasi_takes(place: str, arguments: list[str]) -> None:
    app.parse_args(arguments, exit_on_error=False, print_error=False)


def test_every_variable_is_a_setting() -> None:
    settings = {variable_of(name) for name in Settings.model_fields}
    files = [DEPLOY / name for name in ("compose.yaml", "kong.env", ".env.example", "README.md")]
    texts = [file.read_text() for file in [*files, *MANIFESTS]]
    used = {name for text in texts for name in re.findall(r"\bGHASI_[A-Z_]+\b", text)}
    assert used - settings <= OF_KONG


def test_what_compose_takes_from_outside_is_in_the_example() -> None:
    wanted = set(re.findall(r"\$\{(\w+)", (DEPLOY / "compose.yaml").read_text()))
    assert wanted == EXAMPLE.keys()


def test_the_files_that_compose_names_are_there() -> None:
    for name, service in COMPOSE["services"].items():
        for entry in service.get("env_file", ()):
            assert isinstance(entry, dict) or (DEPLOY / entry).exists(), name
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert source in COMPOSE["volumes"] or source == "./carriers" or (DEPLOY / source).exists(), name


def test_the_secret_that_is_described_has_every_key_that_is_asked_for() -> None:
    page = (DEPLOY / "README.md").read_text()
    described = EXAMPLE.keys() | set(re.findall(r"(?m)^(GHASI_\w+)=", page))
    asked = {
        (item["metadata"]["namespace"], variable["valueFrom"]["secretKeyRef"]["key"])
        for item in OBJECTS
        for container in containers(item)
        for variable in container.get("env", ())
        if "valueFrom" in variable
    }
    assert {key for _, key in asked} <= described
    of_kong = re.search(r"grep -E '\^\(([\w|]+)\)='", page)
    assert of_kong is not None
    assert {key for namespace, key in asked if namespace == "kong"} == set(of_kong[1].split("|"))


def test_no_secret_is_in_any_file() -> None:
    secret = re.compile(r"SECRET|PASSWORD|KEY|DATABASE_URL|NATS_URL")
    assert [name for name, value in EXAMPLE.items() if value and secret.search(name)] == []
    for place, _, container in ours():
        environment = container.get("env", ())
        if isinstance(environment, list):
            plain = [one["name"] for one in environment if "value" in one and secret.search(one["name"])]
        else:
            plain = [
                name
                for name, value in container["environment"].items()
                if secret.search(name) and "${" not in str(value)
            ]
        assert plain == [], place
    for config_map in named("ConfigMap").values():
        assert [name for name in config_map["data"] if secret.search(name)] == []


def test_services_are_where_kong_and_the_portal_look_for_them() -> None:
    assert named("Service")["kong", "kong-proxy"]["spec"]["ports"][0]["port"] == 80
    settings = named("ConfigMap")["ghasi", "ghasi"]["data"]
    assert settings["GHASI_API_INTERNAL_URL"] == "http://kong-proxy.kong.svc.cluster.local"
    for upstream in Upstream:
        service = named("Service")["ghasi", upstream]["spec"]
        assert (service["ports"][0]["port"], service["selector"]) == (8000, {"app.kubernetes.io/name": upstream})
        near = named("Service")["kong", upstream]["spec"]
        assert near["externalName"] == f"{upstream}.ghasi.svc.cluster.local"
        assert upstream in COMPOSE["services"]


def test_every_workload_is_probed_bounded_and_unprivileged() -> None:
    for item in OBJECTS:
        for container in containers(item):
            name = f"{item['metadata']['name']}/{container['name']}"
            assert container["resources"]["limits"]["memory"], name
            allowed = container["securityContext"]
            assert (allowed["readOnlyRootFilesystem"], allowed["allowPrivilegeEscalation"]) == (True, False), name
            assert allowed["capabilities"] == {"drop": ["ALL"]}, name
            if item["kind"] in {"Deployment", "StatefulSet"} and container["name"] != "sync":
                assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys(), name
    deployments = named("Deployment")
    assert named("PodDisruptionBudget").keys() == deployments.keys()
    for key, scaler in named("HorizontalPodAutoscaler").items():
        assert scaler["spec"]["scaleTargetRef"]["name"] == key[1]
        assert key in deployments


def test_the_image_runs_as_the_user_that_the_cluster_expects() -> None:
    user = re.search(r"(?m)^USER (\d+):(\d+)$", (ROOT / "Dockerfile").read_text())
    assert user is not None
    for item in named("Deployment").values():
        if item["metadata"]["namespace"] == "ghasi":
            context = item["spec"]["template"]["spec"]["securityContext"]
            assert (str(context["runAsUser"]), str(context["runAsGroup"])) == user.groups()


def test_only_kong_and_the_portal_are_published_and_roots_are_read_only() -> None:
    published = {name for name, service in COMPOSE["services"].items() if "ports" in service}
    assert published == {"kong", "portal"}
    for name, service in COMPOSE["services"].items():
        assert service["read_only"] is True, name
        assert "no-new-privileges:true" in service["security_opt"], name
    outside = {name for name, service in COMPOSE["services"].items() if "outside" in service["networks"]}
    assert outside == {"kong", "portal", "auth-service", "work-dispatch", "work-webhooks"}


def test_kong_writes_beside_its_own_libraries_and_not_over_them() -> None:
    """nginx is linked with what the image has in /usr/local/kong/lib: nothing may be mounted over it."""
    kong = COMPOSE["services"]["kong"]
    settings = named("ConfigMap")["kong", "kong-settings"]["data"]
    [pod] = [container for container in containers(named("Deployment")["kong", "kong"]) if container["name"] == "kong"]
    mounts = [mount["mountPath"] for mount in pod["volumeMounts"]]
    for prefix, writable in ((kong["environment"]["KONG_PREFIX"], kong["tmpfs"]), (settings["KONG_PREFIX"], mounts)):
        assert prefix in writable
        assert not any("/usr/local/kong/lib/".startswith(path.rstrip("/") + "/") for path in writable)


def test_ports_match() -> None:
    for key, deployment in named("Deployment").items():
        ports = {port["containerPort"]: port["name"] for one in containers(deployment) for port in one.get("ports", ())}
        by_name = {name: number for number, name in ports.items()}
        for container in containers(deployment):
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                if get := container.get(probe, {}).get("httpGet"):
                    assert by_name.get(get["port"], get["port"]) in ports, (key, probe)
            variables = {one["name"]: one.get("value") for one in container.get("env", ())}
            if "GHASI_METRICS_PORT" in variables:
                assert int(variables["GHASI_METRICS_PORT"]) == container["livenessProbe"]["httpGet"]["port"]
            if "--port" in container.get("args", ()):
                port = int(container["args"][container["args"].index("--port") + 1])
                assert port == container["readinessProbe"]["httpGet"]["port"]
        if service := named("Service").get(key if key[1] != "kong" else ("kong", "kong-proxy")):
            assert service["spec"]["ports"][0]["targetPort"] in ports
    for service in COMPOSE["services"].values():
        for url in re.findall(r"https?://([\w.-]+):(\d+)", f"{service.get('command')} {service.get('environment')}"):
            assert url in {
                ("kong", "8000"), ("kong", "8001"), ("auth-service", "8000"), ("127.0.0.1", "8222")
            }  # fmt: skip


@pytest.mark.parametrize("file", [DEPLOY / "kong.yaml", EMITTED], ids=lambda file: file.name)
def test_kong_finds_what_its_configuration_names(file: Path) -> None:
    kong = yaml.safe_load(file.read_text())
    within = {upstream["name"] for upstream in kong["upstreams"]}
    hosts = {(service["host"], service["port"]) for service in kong["services"] if service["host"] not in within}
    for upstream in kong["upstreams"]:
        for target in upstream["targets"]:
            host, _, port = target["target"].partition(":")
            hosts.add((host, int(port)))
    assert hosts == {(upstream.value, 8000) for upstream in Upstream}
    limiters = [
        plugin["config"]
        for owner in (kong, *kong["services"])
        for plugin in owner.get("plugins", ())
        if plugin["name"] == "rate-limiting"
    ]
    shared = {limiter["redis"]["host"] for limiter in limiters if limiter["policy"] == "redis"}
    assert shared == ({"valkey"} if file == EMITTED else set())
    if file == EMITTED:
        assert ("kong", "valkey") in named("Service")
        counting = [limiter for limiter in limiters if limiter["limit_by"] == "header"]
        assert all(limiter["policy"] == "redis" for limiter in counting)


def test_kong_has_the_same_settings_everywhere() -> None:
    own = dict(line.split("=", 1) for line in (DEPLOY / "kong.env").read_text().splitlines() if line and line[0] != "#")
    assert own.items() <= named("ConfigMap")["kong", "kong-settings"]["data"].items()


def test_kong_learns_of_a_key_before_it_signs() -> None:
    syncs = [arguments for _, arguments, _ in ours() if arguments[:2] == ["kong", "sync"]]
    assert len(syncs) == 2
    for arguments in syncs:
        assert float(arguments[arguments.index("--every") + 1]) <= PUBLICATION_LEAD.total_seconds() / 3


def test_a_pod_that_ends_gets_no_more_requests_and_the_time_to_drain() -> None:
    for key, deployment in named("Deployment").items():
        pod = deployment["spec"]["template"]["spec"]
        waits = [one["lifecycle"]["preStop"]["exec"]["command"] for one in containers(deployment) if "lifecycle" in one]
        serves = key in named("Service") or key == ("kong", "kong")
        assert bool(waits) is serves, key
        assert pod["terminationGracePeriodSeconds"] >= (5 if serves else 0) + 20, key
    for service in COMPOSE["services"].values():
        if service.get("image") == "ghasi:0.1.0":
            assert service["stop_grace_period"] == "25s"


def test_policies_and_budgets_select_pods_that_there_are() -> None:
    labels = [
        (item["metadata"]["namespace"], item["spec"]["template"]["metadata"]["labels"])
        for item in OBJECTS
        if "template" in item.get("spec", {})
    ]
    for item in OBJECTS:
        if item["kind"] in {"NetworkPolicy", "PodDisruptionBudget"}:
            selector = item["spec"].get("podSelector", item["spec"].get("selector"))
            wanted = selector.get("matchLabels", {}).items()
            assert any(
                namespace == item["metadata"]["namespace"] and wanted <= found.items() for namespace, found in labels
            ), item["metadata"]
    guarded = {
        found["app.kubernetes.io/component"]
        for namespace, found in labels
        if namespace == "ghasi" and found["app.kubernetes.io/component"] != "engine"
    }
    by_component = {
        item["spec"]["podSelector"].get("matchLabels", {}).get("app.kubernetes.io/component")
        for item in named("NetworkPolicy").values()
    }
    assert guarded <= by_component
