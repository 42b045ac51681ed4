"""The image and the manifests against the server they start: commands, paths, ports, users, times."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from potstill.cli import potstill as root
from potstill.server.guard import OPEN_PATHS
from potstill.server.run import GRACE_S

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "deploy" / "docker" / "Dockerfile").read_text(encoding="utf-8")
KUBERNETES = ROOT / "deploy" / "kubernetes"
MANIFESTS = {
    path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in KUBERNETES.glob("*.yaml")
}
APPLIED = [name.removesuffix(".yaml") for name in MANIFESTS["kustomization"]["resources"]]
POD = MANIFESTS["deployment"]["spec"]["template"]
CONTAINER = POD["spec"]["containers"][0]


def instructions(name: str) -> list[str]:
    joined = DOCKERFILE.replace("\\\n", " ")
    return re.findall(rf"^{name} (.+)$", joined, flags=re.MULTILINE)


def parsed(command: list[str]) -> dict[str, Any]:
    name, *arguments = command
    with root.commands[name].make_context(name, arguments) as context:
        return context.params


def test_the_image_starts_the_server_where_it_says() -> None:
    assert json.loads(instructions("ENTRYPOINT")[0]) == ["potstill"]
    serve = parsed(json.loads(instructions("CMD")[0]))
    assert (str(serve["source"]), serve["host"]) == ("/models", "0.0.0.0")
    assert instructions("EXPOSE") == [str(serve["port"])]


def test_nothing_is_reported_from_inside_the_image() -> None:
    assert "ORT_DISABLE_TELEMETRY=1" in instructions("ENV")[0].split()
    assert MANIFESTS["network"]["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert MANIFESTS["network"]["spec"]["egress"] == []


def test_the_image_asks_for_its_health_as_a_probe_does() -> None:
    _, command = instructions("HEALTHCHECK")[0].split("CMD ")
    program, flag, code = json.loads(command)
    assert (program, flag) == ("python", "-c")
    compile(code, "HEALTHCHECK", "exec")
    address = urlsplit(re.findall(r"http://[^']+", code)[0])
    assert address.path in OPEN_PATHS
    assert [str(address.port)] == instructions("EXPOSE")


def test_what_the_image_copies_is_there_and_let_in() -> None:
    ignored = (
        (ROOT / "deploy" / "docker" / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    )
    copied = {
        name for line in instructions("COPY") if not line.startswith("--from") for name in line.split()[:-1]
    }
    assert copied == {line[1:] for line in ignored if line.startswith("!")}
    assert [name for name in copied if not (ROOT / name).exists()] == []


def test_the_pod_starts_the_server_the_service_leads_to() -> None:
    serve = parsed(CONTAINER["args"])
    (port,) = CONTAINER["ports"]
    assert (serve["host"], serve["port"]) == ("0.0.0.0", port["containerPort"])
    assert [each["targetPort"] for each in MANIFESTS["service"]["spec"]["ports"]] == [port["name"]]
    assert MANIFESTS["network"]["spec"]["ingress"][0]["ports"][0]["port"] == port["name"]
    assert MANIFESTS["servicemonitor"]["spec"]["endpoints"][0]["port"] == port["name"]
    mounts = {each["name"]: Path(each["mountPath"]) for each in CONTAINER["volumeMounts"]}
    assert mounts["models"] == serve["source"]
    assert mounts["token"] == serve["token_file"].parent
    assert {each["name"] for each in POD["spec"]["volumes"]} == set(mounts)


def test_probes_need_no_token_and_a_pod_has_time_to_finish() -> None:
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert CONTAINER[probe]["httpGet"]["path"] in OPEN_PATHS
    _, waited_s = CONTAINER["lifecycle"]["preStop"]["exec"]["command"]
    assert POD["spec"]["terminationGracePeriodSeconds"] > GRACE_S + int(waited_s)


def test_the_user_is_the_same_in_image_and_pod() -> None:
    secured = POD["spec"]["securityContext"]
    assert instructions("USER") == [f"{secured['runAsUser']}:{secured['runAsGroup']}"]


def test_the_manifests_refer_to_each_other() -> None:
    assert set(APPLIED) == set(MANIFESTS) - {"kustomization", "servicemonitor"}
    labels = POD["metadata"]["labels"].items()
    for name, selector in (
        ("deployment", MANIFESTS["deployment"]["spec"]["selector"]["matchLabels"]),
        ("service", MANIFESTS["service"]["spec"]["selector"]),
        ("disruption", MANIFESTS["disruption"]["spec"]["selector"]["matchLabels"]),
        ("network", MANIFESTS["network"]["spec"]["podSelector"]["matchLabels"]),
        ("servicemonitor", MANIFESTS["servicemonitor"]["spec"]["selector"]["matchLabels"]),
    ):
        assert selector.items() <= labels, name
    claims = [
        each["persistentVolumeClaim"]["claimName"] for each in POD["spec"]["volumes"] if "pers" in str(each)
    ]
    assert claims == [MANIFESTS["storage"]["metadata"]["name"]]
    assert POD["spec"]["serviceAccountName"] == MANIFESTS["account"]["metadata"]["name"]
    assert (
        MANIFESTS["scaling"]["spec"]["scaleTargetRef"]["name"] == MANIFESTS["deployment"]["metadata"]["name"]
    )
    (image,) = MANIFESTS["kustomization"]["images"]
    assert CONTAINER["image"].split(":")[0] == image["name"]


@pytest.mark.parametrize("name", APPLIED)
def test_a_manifest_is_what_kubernetes_takes(name: str) -> None:
    """Against Kubernetes' own schemas, unknown fields refused; they are large, so only where installed."""
    schemas = pytest.importorskip("kubernetes_validate")
    schemas.validate(MANIFESTS[name], "1.34", strict=True)


def test_the_page_shows_commands_that_are_some() -> None:
    page = (ROOT / "deploy" / "README.md").read_text(encoding="utf-8")
    shown = re.findall(r"-- potstill (.+)$", page, flags=re.MULTILINE)
    assert len(shown) == 3
    for line in shown:
        parsed(shlex.split(line))
    links = re.findall(r"\]\(([^)#]+)\)", page)
    assert links
    assert [link for link in links if not (ROOT / "deploy" / link).exists()] == []
