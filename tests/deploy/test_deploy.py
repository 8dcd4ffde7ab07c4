"""What deploy/ says fits its schemas, the parts that there are, and the settings that they read."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ghasi.commands.application import app
from ghasi.contract.row import Upstream
from ghasi.processes.hosting import WORKERS
from ghasi.settings import Settings, variable_of

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
BIN = Path(sys.executable).parent
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
MANIFESTS = sorted(file for file in KUBERNETES.rglob("*.yaml") if file.name != "kustomization.yaml")
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


def test_kustomize_leaves_nothing_out_and_names_nothing_that_is_not_there() -> None:
    base = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())
    assert sorted(base["resources"]) == [str(file.relative_to(KUBERNETES)) for file in MANIFESTS]
    top = yaml.safe_load((DEPLOY / "kustomization.yaml").read_text())
    files = [file for generator in top["configMapGenerator"] for file in generator["files"]]
    assert all((DEPLOY / name).exists() for name in [*top["resources"], *files])
    made = {generator["name"] for generator in top["configMapGenerator"]}
    wanted = {
        volume["configMap"]["name"]
        for item in OBJECTS
        for volume in item.get("spec", {}).get("template", {}).get("spec", {}).get("volumes", ())
        if "configMap" in volume
    }
    assert wanted <= made | {name for _, name in named("ConfigMap")}


@pytest.mark.parametrize("where", ["compose", "kubernetes"])
def test_every_part_is_deployed(where: str) -> None:
    commands = {" ".join(arguments[:2]) for place, arguments, _ in ours() if place.startswith(where)}
    assert commands == PARTS | {"migrate", "kong sync"}


@pytest.mark.parametrize(("place", "arguments"), [(place, arguments) for place, arguments, _ in ours()])
def test_every_command_is_one_that_ghasi_takes(place: str, arguments: list[str]) -> None:
    app.parse_args(arguments, exit_on_error=False, print_error=False)


def test_every_variable_is_a_setting() -> None:
    settings = {variable_of(name) for name in Settings.model_fields}
    texts = [file.read_text() for file in [DEPLOY / "compose.yaml", *MANIFESTS, DEPLOY / ".env.example"]]
    used = {name for text in texts for name in re.findall(r"\bGHASI_[A-Z_]+\b", text)}
    assert used - settings <= OF_KONG


def test_what_compose_takes_from_outside_is_in_the_example() -> None:
    wanted = set(re.findall(r"\$\{(\w+)", (DEPLOY / "compose.yaml").read_text()))
    assert wanted == EXAMPLE.keys()


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
