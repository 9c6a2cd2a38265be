"""Scrapes `/metrics` and reads the samples."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import httpx
from prometheus_client.parser import text_string_to_metric_families


def samples(text: bytes) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return the value of each sample by its name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


Numbers = dict[tuple[str, frozenset[tuple[str, str]]], float]


def number(numbers: Numbers, name: str, **labels: str) -> float:
    """Return a sample, 0 if there is none."""
    return numbers.get((name, frozenset(labels.items())), 0.0)


async def scraped(address: str) -> Numbers:
    return samples(await scraped_text(address))


async def scraped_text(address: str, token: str = "") -> bytes:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with httpx.AsyncClient(headers=headers) as http:
        answer = await http.get(f"{address}/metrics")
    assert answer.status_code == 200, answer.text
    return answer.content


async def scraped_until(address: str, condition: Callable[[Numbers], bool]) -> Numbers:
    """Scrape until the samples meet a condition."""
    async with asyncio.timeout(60):
        while not condition(numbers := await scraped(address)):
            await asyncio.sleep(0.05)
    return numbers


@contextlib.asynccontextmanager
async def answering(port: int) -> AsyncIterator[str]:
    """Return the address of a port once a server listens there."""
    address = f"http://127.0.0.1:{port}"
    async with asyncio.timeout(60), httpx.AsyncClient() as http:
        while True:
            try:
                assert (await http.get(f"{address}/healthz")).text == "ok"
                break
            except httpx.TransportError:
                await asyncio.sleep(0.05)
    yield address
