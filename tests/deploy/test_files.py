"""The files of a deployment are what their own tools take, and keep what they promise about each other."""

import json
import re
import shutil
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.cli import preconditions
from service.config.settings import BY_VARIABLE, Settings
from tests.support.deploy.stack import document, image, variables
from tests.support.deploy.tools import checked, tool
from tests.support.environment import ROOT

pytestmark = pytest.mark.timeout(300)  # what is checked with is installed on first use

KUBERNETES = sorted((ROOT / "deploy" / "kubernetes").glob("*.yaml"))
UNITS = sorted((ROOT / "deploy" / "systemd").iterdir())
MARGIN = 5.0
"""Seconds beyond the drain for the last sessions to be closed on the record."""


def resources() -> list[dict[str, Any]]:
    files = [file for file in KUBERNETES if file.name != "kustomization.yaml"]
    return [resource for file in files for resource in yaml.safe_load_all(file.read_text())]


def pods() -> dict[str, dict[str, Any]]:
    """Return the pods' specifications by name."""
    return {
        resource["metadata"]["name"]: resource["spec"]["template"]["spec"]
        for resource in resources()
        if "template" in resource["spec"]
    }


def test_compose_takes_the_file() -> None:
    program = "import compose_spec, sys; compose_spec.PyCompose.from_json(sys.stdin.read()).to_spec(); print('taken')"
    given = json.dumps(document(variables()))
    assert checked(tool("python"), "-c", program, stdin=given).strip() == "taken"
    broken = given.replace('"healthcheck"', '"healthchek"')
    refused = subprocess.run(
        [tool("python"), "-c", program], input=broken, text=True, capture_output=True, check=False
    )
    assert refused.returncode != 0, "the tool takes anything"


def test_nothing_starts_with_a_secret_that_a_stranger_knows() -> None:
    given = variables()
    # What makes the login `analyst` refuses an empty password itself; nothing else starts by its profile.
    secrets = [name for name in given if name not in ("JOIN_CREATES", "ANALYST_PASSWORD")]
    for name in secrets:
        without = {key: value for key, value in given.items() if key != name}
        with pytest.raises(KeyError, match=name):
            document(without)
    again = variables()
    assert all(
        again[name] != given[name] for name in ("POSTGRES_PASSWORD", "APP_PASSWORD", "ONRECORD_BUS_KEY")
    )
    text = "\n".join(file.read_text() for file in (*KUBERNETES, *UNITS, ROOT / "Dockerfile"))
    assert not re.search(r"(PASSWORD|SECRET|KEY)['\"]?[=:] *\w", text)


def test_only_the_balancer_is_published_and_on_this_machine_alone() -> None:
    services = document(variables())["services"]
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert published == {
        "balancer": ["127.0.0.1:8000:8000"],
        "demo": ["127.0.0.1:8080:8000"],
        "analytics": ["127.0.0.1:5433:5432"],
    }
    assert {name: services[name].get("profiles") for name in published} == {
        "balancer": None,
        "demo": ["demo"],
        "analytics": ["analysts"],
    }


def test_compose_passes_on_every_setting_of_tokens_and_of_signing_in() -> None:
    chosen = [
        name
        for name in BY_VARIABLE
        if re.match("ONRECORD_(JWT|OIDC)_", name) and name != "ONRECORD_JWT_LEEWAY"
    ]
    given = variables() | {name: f"value of {name}" for name in chosen}
    services = document(given)["services"]
    for name in ("node1", "node2", "demo", "doctor"):
        passed = {key: services[name]["environment"].get(key) for key in chosen}
        assert passed == {key: given[key] for key in chosen}


def test_a_node_of_compose_takes_a_provider_with_the_secret_left_empty(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = variables() | {
        "ONRECORD_JWT_SECRET": "",
        "ONRECORD_JWT_JWKS": "https://id.example/keys",
        "ONRECORD_JWT_ISSUER": "https://id.example",
        "ONRECORD_JWT_AUDIENCE": "chat",
        "ONRECORD_OIDC_CLIENT_ID": "chat",
        "ONRECORD_OIDC_REDIRECT_URI": "https://chat.example/signin/callback",
    }
    for name, value in document(given)["services"]["node1"]["environment"].items():
        monkeypatch.setenv(name, value)
    settings = preconditions.for_serve(Namespace(worker=0, workers=1, demo=False))
    assert (settings.oidc_client_id, settings.demo_names) == ("chat", False)
    monkeypatch.setenv("ONRECORD_JWT_JWKS", "")
    with pytest.raises(preconditions.WrongUsage, match="ONRECORD_JWT_SECRET"):
        preconditions.for_serve(Namespace(worker=0, workers=1, demo=False))


def test_every_setting_in_a_deployment_is_one() -> None:
    named = set(image()["environment"])
    for service in document(variables())["services"].values():
        named |= {name for name in service.get("environment", {}) if name.startswith("ONRECORD")}
    for pod in pods().values():
        named |= {
            variable["name"] for container in pod["containers"] for variable in container.get("env", [])
        }
    for unit in UNITS:
        named |= set(re.findall(r"(ONRECORD_\w+)=", unit.read_text()))
    assert named
    assert named <= set(BY_VARIABLE)


def test_whoever_stops_a_node_gives_it_the_time_to_drain() -> None:
    needed = Settings().drain_seconds + MARGIN
    services = document(variables())["services"]
    for name in ("node1", "node2"):
        assert float(services[name]["stop_grace_period"].removesuffix("s")) >= needed
    node = pods()["onrecord-node"]
    (container,) = node["containers"]
    (drain,) = (one["value"] for one in container["env"] if one["name"] == "ONRECORD_DRAIN_SECONDS")
    pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert node["terminationGracePeriodSeconds"] >= float(drain) + pause + MARGIN
    (unit,) = (unit.read_text() for unit in UNITS if unit.name == "onrecord@.service")
    assert float(re.findall(r"TimeoutStopSec=(\d+)", unit)[0]) >= needed


def test_kubernetes_takes_the_manifests() -> None:
    files = [file for file in KUBERNETES if file.name != "kustomization.yaml"]
    said = checked(tool("kubernetes-validate"), "--strict", *files)
    assert said.count(" passed for resource ") == len(resources())
    kustomization = yaml.safe_load((ROOT / "deploy" / "kubernetes" / "kustomization.yaml").read_text())
    assert sorted(kustomization["resources"]) == [file.name for file in files]


@pytest.mark.parametrize("name", ["onrecord-migrate", "onrecord-node", "onrecord-projector"])
def test_pod_has_no_unset_variables_and_no_needless_privileges(name: str) -> None:
    pod = pods()[name]
    assert pod["enableServiceLinks"] is False
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    secrets = {source["secretRef"]["name"] for source in container["envFrom"]}
    assert ("onrecord-owner" in secrets) is (name == "onrecord-migrate")
    assert ("onrecord-projector" in secrets) is (name != "onrecord-node")


@pytest.mark.needs("systemd-analyze")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    here = str(Path(sys.executable).with_name("onrecord"))
    for unit in UNITS:
        instance = unit.name.replace("@", "@8001")
        (tmp_path / instance).write_text(unit.read_text().replace("/opt/onrecord/bin/onrecord", here))
    assert checked("systemd-analyze", "verify", *sorted(tmp_path.iterdir())) == ""
    # 0 is perfect, 10 is nothing at all; what systemd calls OK ends at 4.
    for service in sorted(tmp_path.glob("*.service")):
        checked("systemd-analyze", "security", "--offline=true", "--threshold=20", service)


@pytest.mark.needs("haproxy")
def test_haproxy_takes_its_configuration() -> None:
    words = ("LISTEN=127.0.0.1:8000", "NODE1=127.0.0.1:8001", "NODE2=127.0.0.1:8002")
    checked("env", *words, "haproxy", "-c", "-f", ROOT / "deploy" / "haproxy.cfg")


def test_the_dockerfile_is_well_written() -> None:
    assert checked(tool("hadolint"), ROOT / "Dockerfile") == ""


def test_image_runs_unprivileged_and_has_a_health_check() -> None:
    text = (ROOT / "Dockerfile").read_text()
    stages = text.split("\nFROM ")
    assert len(stages) == 3  # the opening words, and two stages
    assert re.search(r"^USER [1-9]\d+:[1-9]\d+$", stages[2], re.MULTILINE)
    assert image()["entrypoint"] == ["onrecord"]
    assert "/healthz" in image()["healthcheck"][-1]


def test_the_image_pins_what_the_tests_ran_with() -> None:
    def pins(name: str) -> dict[str, str]:
        text = (ROOT / name).read_text()
        return dict(re.findall(r"^(\S+==\S+) (.*?(?:\n    --hash=\S+.*)+)", text, re.MULTILINE))

    tested, shipped = pins("requirements.lock"), pins("deploy/requirements.lock")
    assert len(shipped) > 20
    assert shipped.keys() <= tested.keys()
    assert all(
        re.findall(r"sha256:\w+", shipped[name]) == re.findall(r"sha256:\w+", tested[name])
        for name in shipped
    )


def test_image_build_needs_no_development_extra(tmp_path: Path) -> None:
    build, prefix = tmp_path / "build", tmp_path / "onrecord"
    build.mkdir()
    stage = (ROOT / "Dockerfile").read_text().replace("\\\n", " ").split("\nFROM ")[1]
    for line in stage.splitlines():
        word, _, rest = line.partition(" ")
        if word == "COPY":
            *sources, target = rest.split()
            for source in sources:
                copied = ROOT / source
                place = build / target / (copied.name if copied.is_file() else "")
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copytree(copied, place) if copied.is_dir() else shutil.copy(copied, place)
        elif word == "RUN":
            steps = re.sub(r"^python ", f"{sys.executable} ", rest).replace("/opt/onrecord", str(prefix))
            subprocess.run(["/bin/sh", "-ec", steps], cwd=build, check=True)
    onrecord = prefix / "bin" / "onrecord"
    assert "ONRECORD_DATABASE_URL" in checked("env", "-i", onrecord, "settings")
    python = prefix / "bin" / "python"
    modules = "import service.node.server, service.doctor, service.cli.proof, service.cli.history, service.node.workers"
    assert checked("env", "-i", python, "-c", f"{modules}; print('all there')") == "all there\n"
    refused = subprocess.run(
        [onrecord, "dev"], capture_output=True, text=True, check=False, cwd=tmp_path, env={}
    )
    assert refused.returncode == 2
    assert refused.stderr == "`onrecord dev` and the tests need `pip install 'onrecord[dev]'`.\n"
    assert not list(prefix.glob("lib/*/site-packages/pip"))


def test_secrets_are_written_once_and_only_their_owner_reads_them(tmp_path: Path) -> None:
    script, file = ROOT / "scripts" / "secrets", tmp_path / ".env"
    made = subprocess.run([script, file], capture_output=True, text=True, check=True)
    assert (made.stdout, made.stderr, oct(file.stat().st_mode & 0o777)) == ("", "", "0o600")
    first = file.read_text()
    assert all(re.fullmatch(r"[A-Z_]+=\S{32,}", line) for line in first.splitlines())
    again = subprocess.run([script, file], capture_output=True, text=True, check=False)
    assert (again.returncode, file.read_text()) == (2, first)
    assert again.stderr == f"{file} exists and may hold the only key of a log; nothing was written.\n"
    assert subprocess.run([script], capture_output=True, check=False).returncode == 2


def test_a_restart_of_the_machine_does_not_open_the_demo_again() -> None:
    services = document(variables())["services"]
    assert (services["demo"]["restart"], services["node1"]["restart"]) == ("no", "unless-stopped")
