-- Whoever reads a view has to be allowed its functions, and analysts are allowed none: the view says the same without one.

REVOKE ALL ON FUNCTION carried_state, carried_words_live FROM PUBLIC;
GRANT EXECUTE ON FUNCTION carried_state, carried_words_live TO onrecord_node, onrecord_projector;
GRANT SELECT ON carried_words TO onrecord_projector;

SET LOCAL ROLE onrecord_projector;
CREATE OR REPLACE VIEW messages AS
    SELECT m.id, m.room_id, m.user_id,
        CASE WHEN m.key_id IS NULL OR k.wrapped IS NOT NULL THEN m.content
            WHEN starts_with(k.scope, '~') AND (
                SELECT l.wrapped IS NOT NULL
                FROM stored_events p
                    JOIN stored_events e ON e.originator_id = p.originator_id
                        AND e.subject = 'message:' || m.id AND e.key_id = m.key_id
                    JOIN carried_words c ON c."position" = e.notification_id
                    JOIN person_keys l ON l.key_id = c.key_id
                WHERE p.notification_id = m."position"
                ORDER BY e.originator_version DESC LIMIT 1) THEN m.content END AS content,
        m.created_at, m.reply_to, m.mentions, m."position", m.edited_at, m.deleted_at, m.reactions, m.pinned
    FROM messages_v2 m LEFT JOIN person_keys k ON k.key_id = m.key_id;
RESET ROLE;
