"""Builds the application layer of a node: chat commands, presence, and the effects of recorded events on sessions."""

import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from uuid import uuid4

from service.audit.access_log import AccessLog
from service.audit.export.own_data import OwnData
from service.chat import (
    AccountBlocks,
    AccountSuspensions,
    BudgetedAppender,
    Chat,
    DisplayNames,
    LogBudget,
    ReadMarkers,
    Reports,
)
from service.chat.pending import Limits
from service.config.settings import Settings
from service.eventstore.notifications import Waker
from service.gateway.auth.charges import Charges
from service.gateway.auth.rate_limit import ADDED, LOGGED, RateLimit, SharedRateLimit
from service.gateway.commands.additions import HOUR, Additions
from service.gateway.notices.accounts import AccountEffects
from service.gateway.notices.receipts import MarkerNotices
from service.gateway.notices.reports import ReportNotices
from service.gateway.queries.people import PeopleQueries
from service.gateway.session.lifecycle import SessionLifecycle
from service.node.live import Live
from service.node.pipeline import after_restore
from service.node.storage import Storage
from service.presence.presence import Presence
from service.presence.typing import Typing
from service.realtime.log_tailer import LogTailer
from service.runtime.token_bucket import TokenBuckets


@dataclass(frozen=True, kw_only=True)
class Application:
    """The application layer."""

    chat: Chat
    names: DisplayNames
    read_markers: ReadMarkers
    marker_notices: MarkerNotices
    suspensions: AccountSuspensions
    reports: Reports
    presence: Presence
    typing: Typing
    lifecycle: SessionLifecycle
    charges: Charges
    shared_rate: SharedRateLimit
    additions: Additions
    shared_adds: SharedRateLimit
    log_budget: LogBudget
    shared_log_budget: SharedRateLimit
    blocks: AccountBlocks
    people_queries: PeopleQueries
    access_log: AccessLog
    own_data: OwnData
    tailer: LogTailer
    waker: Waker


def build_application(settings: Settings, storage: Storage, live: Live, stack: AsyncExitStack) -> Application:
    """Return the application layer, closed with `stack`."""
    keys, reader, now = storage.keys, storage.reader, storage.clock.now
    budget = LogBudget(settings.log_bytes_per_day, time.time)
    appender = BudgetedAppender(live.appender, budget)
    chat = Chat(
        live.hub.feeds, appender, reader, live.people, keys, storage.pool,
        now=now, limits=Limits(settings.max_content, settings.max_edits),
        invite_only=settings.add_members == "invite",
    )  # fmt: skip
    notices = MarkerNotices(live.hub.audience, live.relay)
    markers = ReadMarkers(
        live.hub.feeds,
        appender,
        reader,
        storage.serializer,
        notices.marker_moved,
        now=now,
    )
    stack.push_async_callback(markers.close)
    presence = Presence(live.relay, live.hub.audience, live.people, settings.disconnect_grace)
    typing = Typing(live.relay, live.hub.audience, str(uuid4()), time.monotonic)
    live.hub.on_silence = typing.silence
    rate = RateLimit(settings.rate_per_second, settings.rate_burst, time.monotonic)
    adds = RateLimit(settings.adds_per_hour / HOUR, settings.adds_per_hour, time.monotonic)
    return Application(
        chat=chat,
        names=DisplayNames(live.people, live.appender, storage.serializer, storage.pool),
        read_markers=markers,
        marker_notices=notices,
        suspensions=AccountSuspensions(live.people, live.appender, reader, storage.serializer, storage.pool),
        reports=Reports(
            live.hub.feeds,
            appender,
            reader,
            storage.report_reader,
            storage.serializer,
            storage.pool,
            now=now,
            limit=settings.max_reports,
            admins=settings.reports_to_admins,
        ),
        presence=presence,
        typing=typing,
        lifecycle=SessionLifecycle(live.sessions, presence, typing, live.session_log),
        charges=Charges(rate, TokenBuckets(settings.address_rate, settings.address_burst, time.monotonic)),
        shared_rate=SharedRateLimit(rate, live.relay),
        additions=Additions(chat, adds, settings.adds_per_hour),
        shared_adds=SharedRateLimit(adds, live.relay, ADDED),
        log_budget=budget,
        shared_log_budget=SharedRateLimit(budget, live.relay, LOGGED),
        blocks=AccountBlocks(live.people, appender, storage.serializer, settings.max_blocks),
        people_queries=PeopleQueries(
            models=storage.read_models,
            log=reader,
            people=live.people,
            presence=presence,
            among=settings.find_people,
        ),
        access_log=AccessLog(live.appender.offer, storage.serializer),
        own_data=OwnData(
            storage.as_of_reader, live.appender.offer, storage.serializer, settings.export_interval
        ),
        tailer=_tailer(settings, storage, live, notices),
        waker=Waker(),
    )


def _tailer(settings: Settings, storage: Storage, live: Live, notices: MarkerNotices) -> LogTailer:
    accounts = AccountEffects(
        live.people, live.hub, storage.keys, storage.serializer, live.sessions, storage.pool
    )
    restored = after_restore(
        storage.readiness, live.hub, live.people, storage.keys, live.notifier, notices, live.sessions
    )
    return LogTailer(
        storage.reader, live.hub, settings.catchup_interval,
        affected=live.notifier.notify, persons=accounts.changed, expired=accounts.expired,
        reported=ReportNotices(live.sessions, live.hub.feeds, storage.report_reader).send, renewed=restored,
    )  # fmt: skip
