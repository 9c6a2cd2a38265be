"""The files that let nodes in containers use io_uring."""

import json
from typing import Any

import yaml

from tests.support.deploy.stack import document, variables
from tests.support.environment import ROOT

DEPLOY = ROOT / "deploy"
PROFILE = DEPLOY / "seccomp" / "io-uring.json"

DANGEROUS = {
    "add_key", "bpf", "chroot", "clone3", "delete_module", "init_module", "io_uring_register", "kexec_load", "keyctl",
    "mount", "move_mount", "open_by_handle_at", "perf_event_open", "pivot_root", "process_vm_readv",
    "process_vm_writev", "ptrace", "reboot", "request_key", "setns", "umount2", "unshare", "userfaultfd",
}  # fmt: skip


def rules() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(PROFILE.read_text())["syscalls"]
    return found


def test_the_profile_allows_a_ring_and_no_way_out_of_a_container() -> None:
    allowed = {name for rule in rules() if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]}
    assert {"io_uring_setup", "io_uring_enter"} <= allowed
    assert not allowed & DANGEROUS
    assert json.loads(PROFILE.read_text())["defaultAction"] == "SCMP_ACT_ERRNO"
    (clone,) = [rule for rule in rules() if rule["names"] == ["clone"]]
    assert clone["args"] == [{"index": 0, "value": 0x7E020000, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]


def test_compose_gives_the_profile_to_every_node_and_to_nothing_else() -> None:
    services = document(variables())["services"]
    changed = yaml.safe_load((DEPLOY / "compose.io-uring.yml").read_text())["services"]
    assert set(changed) == {
        name for name, service in services.items() if service.get("command", [""])[0] == "serve"
    }
    for service in changed.values():
        ((option,),) = service.values()
        assert ROOT / option.removeprefix("seccomp=") == PROFILE


def test_kubernetes_replaces_the_profile_of_the_nodes_alone() -> None:
    overlay = yaml.safe_load((DEPLOY / "kubernetes" / "io-uring" / "kustomization.yaml").read_text())
    (patch,) = overlay["patches"]
    (step,) = yaml.safe_load(patch["patch"])
    node, *_ = yaml.safe_load_all((DEPLOY / "kubernetes" / "node.yaml").read_text())
    assert patch["target"] == {"kind": node["kind"], "name": node["metadata"]["name"]}
    place = node
    for name in step["path"].split("/")[1:]:
        place = place[name]
    assert (place, step["op"]) == ({"type": "RuntimeDefault"}, "replace")
    assert step["value"]["localhostProfile"].endswith(PROFILE.name)
