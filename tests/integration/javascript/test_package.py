"""The package as outsiders get it: the tarball in empty projects, which chat with a server."""

import json
import re
import shutil
import tarfile
from pathlib import Path

import pytest

from tests.support.environment import ROOT, token
from tests.support.javascript.package import Package, project, run
from tests.support.processes.processes import Process

pytestmark = [pytest.mark.needs("node", "npm"), pytest.mark.timeout(300)]

INTERFACE = ROOT / "tests" / "support" / "javascript" / "interface.ts"
"""A program that uses the whole interface."""

STRICT = {
    "strict": True,
    "noUncheckedIndexedAccess": True,
    "exactOptionalPropertyTypes": True,
    "verbatimModuleSyntax": True,
    "target": "ES2022",
    "module": "NodeNext",
    "lib": ["ES2022", "DOM"],
    "types": [],
    "skipLibCheck": False,
}


@pytest.mark.usefixtures("projector")
async def test_a_strict_typescript_project_chats_in_plain_node(
    made: Package, node: Process, tmp_path: Path
) -> None:
    project(tmp_path, made, "ws", "@types/ws", "@types/node", "typescript@~5.9.0")
    shutil.copy(INTERFACE, tmp_path / "main.ts")
    (tmp_path / "tsconfig.json").write_text(json.dumps({"compilerOptions": STRICT, "include": ["main.ts"]}))
    run("npx", "tsc", folder=tmp_path)
    printed = run("node", "main.js", node.url, token("alice"), folder=tmp_path).splitlines()
    assert "empty_message false" in printed
    assert json.loads(printed[-1]) == {
        "states": ["connecting", "connected"],
        "content": None,
        "seq": 3,
        "userId": "alice",
        "at": "string",
        "overview": "general",
        "received": ["hello", "again"],
        "typing": [],
        "unread": 0,
        "head": True,
        "id": "general",
        "name": "general",
        "members": ["alice"],
        "last": "edited",
        "retryAfter": 0,
    }


async def test_vite_builds_a_page_with_the_client(made: Package, tmp_path: Path) -> None:
    project(tmp_path, made, "vite")
    (tmp_path / "index.html").write_text('<!doctype html><script type="module" src="/main.js"></script>')
    (tmp_path / "main.js").write_text(
        'import { OnRecord } from "onrecord-client";\n'
        'globalThis.chat = new OnRecord({ url: "ws://localhost:8000/ws", token: "t", storage: localStorage });\n'
    )
    run("npx", "vite", "build", folder=tmp_path)
    (built,) = (tmp_path / "dist" / "assets").glob("*.js")
    assert "onrecord:outbox:" in built.read_text()


def test_the_tarball_needs_no_other_package_at_run_time(made: Package) -> None:
    with tarfile.open(made.tarball) as archive:
        names = set(archive.getnames())
        manifest = json.load(archive.extractfile("package/package.json"))  # type: ignore[arg-type] # it is a file
    assert "dependencies" not in manifest
    assert manifest["type"] == "module"
    entries = [entry for way in manifest["exports"].values() for entry in way.values()]
    assert {f"package/{entry.removeprefix('./')}" for entry in entries} <= names
    assert {"package/README.md", "package/LICENSE"} <= names
    assert not [name for name in names if re.search(r"/(src|test|node_modules)/", name)]


def test_the_lock_names_no_host(made: Package) -> None:
    lock = (made.folder / "package-lock.json").read_text()
    assert "resolved" not in lock
    assert "://" not in re.sub(r'"url": "[^"]*"', "", lock)
