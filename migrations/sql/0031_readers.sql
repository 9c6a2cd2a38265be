-- What auditors and analysts look up (docs/decisions/0044-readers.md).

-- The rooms that a person was ever in, or was named in: only events about members pay for it. This locks the log against
-- appends while the log is read once.
CREATE INDEX stored_events_members_idx ON stored_events (subject, originator_id)
    WHERE starts_with(stream, 'room:') AND starts_with(subject, 'user:');
