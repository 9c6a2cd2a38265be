"""A real Prometheus scrapes a node and a projector, and every rule and panel of ours gets an answer from it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.support.clients.native import client
from tests.support.docs.dashboard import DASHBOARD
from tests.support.environment import ROOT, environment
from tests.support.http.metrics import answering, scraped_text
from tests.support.processes.processes import running
from tests.support.servers.databases import Database
from tests.support.servers.ports import free_ports

RULES = ROOT / "deploy" / "prometheus"
TOKEN = "only Prometheus has this one"


async def promtool(*words: str | Path, stdin: bytes = b"") -> str:
    """Run promtool and return its output; fail if it found an error."""
    process = await asyncio.create_subprocess_exec(
        "promtool", *words, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT, cwd=RULES,
    )  # fmt: skip
    said, _ = await process.communicate(stdin)
    assert process.returncode == 0, said.decode()
    return said.decode()


@pytest.mark.needs("promtool")
async def test_the_rules_are_rules_and_say_what_they_should() -> None:
    assert "SUCCESS" in await promtool("check", "rules", "alerts.yml")
    assert "SUCCESS" in await promtool("test", "rules", "alerts_test.yml")


@pytest.mark.needs("promtool", "prometheus")
async def test_prometheus_answers_every_panel_and_rule(database: Database, tmp_path: Path) -> None:
    ports = free_ports(3)
    env = environment(database, ONRECORD_METRICS_TOKEN=TOKEN)
    nodes, projector, own = (str(port) for port in range(ports, ports + 3))
    async with (
        running(env | {"ONRECORD_METRICS_PORT": nodes}, "serve") as node,
        running(env | {"ONRECORD_METRICS_PORT": projector}, "project", "run"),
        answering(int(nodes)) as address,
        answering(int(projector)),
        prometheus(tmp_path, own, nodes, projector) as http,
        client(node.url, "alice") as alice,
    ):
        await alice.join("general")
        await alice.post("general", "watched")
        await until_value(http, 'sum(up{job=~"onrecord.*"})', 2)
        await until_value(http, "sum(onrecord_connections)", 1)
        await until_value(http, 'sum(onrecord_commands_total{type="message:send",outcome="ok"})', 1)
        for panel in DASHBOARD["panels"]:
            for target in panel["targets"]:
                await asked(http, target["expr"].replace("$__rate_interval", "1m").replace("$instance", ".*"))
        rules = await until_rules(http)
        assert {rule["health"] for rule in rules} == {"ok"}, rules
        await promtool("check", "metrics", stdin=await scraped_text(address, TOKEN))


@contextlib.asynccontextmanager
async def prometheus(place: Path, own: str, *ports: str) -> AsyncIterator[httpx.AsyncClient]:
    """Give the API of a Prometheus that scrapes some ports every second."""
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES / "alerts.yml")],
        "scrape_configs": [
            {
                "job_name": "onrecord",
                "authorization": {"credentials": TOKEN},
                "static_configs": [{"targets": [f"127.0.0.1:{port}" for port in ports]}],
            }
        ],
    }
    (place / "prometheus.yml").write_text(yaml.safe_dump(config))
    process = await asyncio.create_subprocess_exec(
        "prometheus", f"--config.file={place / 'prometheus.yml'}", f"--storage.tsdb.path={place / 'data'}",
        f"--web.listen-address=127.0.0.1:{own}",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{own}") as http, asyncio.timeout(90):
            while True:
                try:
                    if (await http.get("/-/ready")).status_code == 200:
                        break
                except httpx.TransportError:
                    pass
                await asyncio.sleep(0.05)
            yield http
    finally:
        process.terminate()
        await process.wait()


async def asked(http: httpx.AsyncClient, expression: str) -> list[Any]:
    """Return what Prometheus answers."""
    answer = (await http.get("/api/v1/query", params={"query": expression})).json()
    assert answer["status"] == "success", (expression, answer)
    found: list[Any] = answer["data"]["result"]
    return found


async def until_value(http: httpx.AsyncClient, expression: str, value: float) -> None:
    while [float(one["value"][1]) for one in await asked(http, expression)] != [value]:
        await asyncio.sleep(0.1)


async def until_rules(http: httpx.AsyncClient) -> list[Any]:
    """Return the rules once each was looked at."""
    while True:
        groups = (await http.get("/api/v1/rules")).json()["data"]["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        if rules and not any(rule["health"] == "unknown" for rule in rules):
            return rules
        await asyncio.sleep(0.1)
