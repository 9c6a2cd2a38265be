-- Where most events are of one room, a sample finds one stream, and the planner takes it that any stream is most of the
-- log: to read of whoever comes what they are called it then went through all events, for each of them. The events of
-- people are few, and so an index of theirs alone is the nearest way whatever the planner takes the others to be.

CREATE INDEX stored_events_people_idx ON stored_events (originator_id, originator_version)
    WHERE starts_with(stream, 'person:');
