"""Checks Redis or Valkey: that it answers, delivers a message, and limits the buffers of slow subscribers."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import redis
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from service.cluster.envelope import channel_prefix
from service.config.settings import Settings
from service.doctor.finding import UNREACHED, Finding, described, fail, ok, warn

MIN_BUFFER = 8 * 1024 * 1024
"""Bytes that Redis has to buffer for a node that is busy for a moment, before it disconnects that node."""

NEARLY_FULL = 0.9
"""Share of `maxmemory` in use above which a warning is given."""

TROUBLE = (redis.RedisError, OSError)


async def examine(settings: Settings) -> list[Finding]:
    """Return the findings about the bus; none if no bus is set."""
    if not settings.redis_url:
        return []
    # Every call has a deadline and none is retried, because a server that answers only the second time is a finding.
    client = Redis.from_url(
        settings.redis_url,
        socket_timeout=settings.redis_timeout,
        socket_connect_timeout=settings.redis_timeout,
        retry=Retry(NoBackoff(), 0),
    )
    findings: list[Finding] = []
    try:
        async with asyncio.timeout(10 * settings.redis_timeout):
            findings += [finding async for finding in _checks(client, settings)]
    except TROUBLE as error:
        outcome = "refuses this login" if isinstance(error, redis.ResponseError) else "is not reached"
        words = f"{_where(settings.redis_url)} {outcome}: {described(error)}."
        return [fail("redis", words, UNREACHED)]
    finally:
        with suppress(*TROUBLE):
            await client.aclose()
    return findings


async def _checks(client: Any, settings: Settings) -> AsyncIterator[Finding]:
    began = time.perf_counter()
    await client.ping()
    took = (time.perf_counter() - began) * 1000
    try:
        info = await client.info()
    except redis.ResponseError:  # such as `NoPermissionError`, for a restricted login
        yield ok(
            "redis",
            f"It answers in {took:.1f} ms; its version is unknown, since this login may not run INFO.",
        )
    else:
        valkey = info.get("valkey_version")
        name = f"Valkey {valkey}" if valkey else f"Redis {info.get('redis_version')}"
        yield ok("redis", f"{name} at {_where(settings.redis_url)} answers in {took:.1f} ms.")
        for finding in _memory(info):
            yield finding
        if info.get("role") == "slave":
            words = "This is a replica, whose messages do not reach nodes on the primary: name the primary."
            yield fail("bus", words)
    yield await _publish(client, settings)
    yield await _buffers(client)
    async for finding in _others(client, settings):
        yield finding


def _memory(info: dict[str, Any]) -> list[Finding]:
    most, used = int(info.get("maxmemory", 0)), int(info.get("used_memory", 0))
    if most and used > NEARLY_FULL * most:
        words = f"{used / most:.0%} of maxmemory ({most:,} bytes) are used"
        advice = "buffers for slow nodes count too; use a separate Redis for the bus"
        return [warn("memory", f"{words}: {advice}.")]
    return []


async def _publish(client: Any, settings: Settings) -> Finding:
    """Publish a message on a channel of this installation, and wait for it."""
    channel = f"{channel_prefix(settings.bus_key)}doctor:{uuid4().hex}"
    async with client.pubsub() as pubsub:
        await pubsub.subscribe(channel)
        began = time.perf_counter()
        await client.publish(channel, b"probe")
        until = began + settings.redis_timeout
        while (left := until - time.perf_counter()) > 0:
            message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=left)
            if message and message["data"] == b"probe":
                took = (time.perf_counter() - began) * 1000
                return ok("publish", f"A published message arrived after {took:.1f} ms.")
    return fail("publish", f"A published message did not arrive within {settings.redis_timeout:g} s.")


async def _buffers(client: Any) -> Finding:
    """Check how much Redis buffers for a node that does not read before it disconnects it."""
    try:
        limits = (await client.config_get("client-output-buffer-limit"))["client-output-buffer-limit"]
    except (redis.ResponseError, KeyError):
        words = "This login may not read client-output-buffer-limit; 32mb 8mb 60 is recommended for pubsub."
        return ok("buffers", words)
    parts = limits.split()
    hard = int(parts[parts.index("pubsub") + 1])
    if hard == 0:
        words = "client-output-buffer-limit has no bound for pubsub: one stuck node can fill Redis."
        return warn("buffers", words)
    if hard < MIN_BUFFER:
        words = f"client-output-buffer-limit disconnects a node at {hard:,} bytes, which a short burst fills"
        return warn("buffers", f"{words}; 32mb 8mb 60 is recommended.")
    return ok("buffers", f"A node that does not read is disconnected at {hard:,} bytes.")


async def _others(client: Any, settings: Settings) -> AsyncIterator[Finding]:
    """Check for nodes that sign with another key and therefore ignore this node's messages."""
    try:
        channels = await client.pubsub_channels("onrecord:*")
    except redis.ResponseError:
        return
    ours = channel_prefix(settings.bus_key).encode()
    if channels and not any(channel.startswith(ours) for channel in channels):
        words = "All nodes on this Redis have another ONRECORD_BUS_KEY"
        yield warn("bus key", f"{words}: nodes of one installation need the same key.")


def _where(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or 6379}" if parts.hostname else parts.path
