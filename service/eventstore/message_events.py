"""The query for what decides how messages of a room read as of a seq: not the edits that a later one replaced.

The readers of the past use it: `as_of_reader`, and the pages of people who left. It reads, for each message, the post,
the newest edit, the deletion and the reactions by their indexes, so edits by the thousand cost no more than one.
Reactions are read whole, since their order matters; `portions` bounds how many one query reads.
"""

from collections.abc import Iterable, Mapping

from service.eventstore.serializer import ROW

MAX_REACTIONS = 2_000
"""Events of reactions that one query reads, unless a single message has more."""


def events_query(stream: str, messages: str, until: str) -> str:
    """Return the query, by seq; the arguments are its placeholders for a stream's id, numbers and a seq."""
    return f"""
        SELECT {ROW}
        FROM unnest(CAST({messages} AS bigint[])) AS wanted (message)
            LEFT JOIN message_summaries s ON s.originator_id = {stream} AND s.message = wanted.message
            CROSS JOIN LATERAL (
                SELECT wanted.message AS seq
                UNION ALL SELECT s.deleted
                UNION ALL (
                    SELECT originator_version FROM stored_events
                    WHERE originator_id = {stream} AND subject = 'message:' || wanted.message
                        AND topic = 'room.MessageEdited.v1' AND originator_version <= {until}
                    ORDER BY originator_version DESC LIMIT 1)
                UNION ALL
                    SELECT originator_version FROM stored_events
                    WHERE originator_id = {stream} AND subject = 'message:' || wanted.message
                        AND topic IN ('room.ReactionAdded.v1', 'room.ReactionRemoved.v1')
                        AND originator_version <= {until} AND coalesce(s.deleted > {until}, true)) kept
            JOIN readable_events e ON e.originator_id = {stream} AND e.originator_version = kept.seq
                AND e.subject = 'message:' || wanted.message
            LEFT JOIN open_keys k ON k.key_id = e.key_id
        WHERE e.originator_version <= {until}
        ORDER BY e.originator_version
    """  # noqa: S608 - placeholders


def reactions_query(stream: str, messages: str) -> str:
    """Return the query for how many events of reactions each message has; the arguments are as in `events_query`."""
    return f"""
        SELECT message, reactions FROM message_summaries
        WHERE originator_id = {stream} AND message = ANY (CAST({messages} AS bigint[])) AND reactions > 0
    """  # noqa: S608 - placeholders


def portions(messages: Iterable[int], reactions: Mapping[int, int]) -> list[list[int]]:
    """Split messages, in their order, into parts that one query reads each; `reactions` counts those of a message."""
    parts: list[list[int]] = []
    left = 0
    for message in messages:
        left -= reactions.get(message, 0)
        if not parts or left < 0:
            parts.append([])
            left = MAX_REACTIONS - reactions.get(message, 0)
        parts[-1].append(message)
    return parts
