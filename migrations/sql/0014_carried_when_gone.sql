-- What was carried over takes the place of what it was carried from only when the key of that is destroyed, and does not
-- expire before: a replacement that stopped half way, for a legal hold or for damaged words, changes nothing.

CREATE OR REPLACE VIEW readable_events AS
    SELECT e.originator_id, e.originator_version, e.topic, e.notification_id, e.stream, e.subject,
        e.recorded_at, e.recorded_by,
        CASE WHEN c."position" IS NULL THEN e.state ELSE carried_state(e.state, c.key_id, c.sealed) END AS state,
        coalesce(c.key_id, e.key_id) AS key_id, e.state AS stored
    FROM stored_events e LEFT JOIN carried_words c ON c."position" = e.notification_id
        AND NOT EXISTS (SELECT FROM person_keys k WHERE k.key_id = e.key_id AND k.wrapped IS NOT NULL);

CREATE INDEX carried_words_key_idx ON carried_words (key_id);
DO $$
DECLARE
    before text := pg_get_functiondef('expire_content'::regproc);
    was CONSTANT text := 'AND NOT EXISTS (SELECT FROM holds h WHERE h.subject = ''user:'' || k.person);';
BEGIN
    IF length(before) - length(replace(before, was, '')) <> length(was) THEN
        RAISE EXCEPTION 'expire_content is not what this migration changes';
    END IF;
    EXECUTE replace(before, was, rtrim(was, ';') || $more$
            AND NOT (right(k.scope, 1) = '+' AND EXISTS (
                SELECT FROM carried_words c JOIN stored_events e ON e.notification_id = c.position
                    JOIN person_keys o ON o.key_id = e.key_id
                WHERE c.key_id = k.key_id AND o.wrapped IS NOT NULL));$more$);
END $$;
