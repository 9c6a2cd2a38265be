CREATE VIEW read_models.messages AS
 SELECT id,
    room_id,
    user_id,
    content,
    created_at,
    reply_to,
    mentions,
    "position",
    edited_at,
    deleted_at,
    reactions,
    pinned,
        CASE
            WHEN deleted_at IS NOT NULL THEN 'deleted'::text
            WHEN content IS NOT NULL THEN NULL::text
            WHEN (EXISTS ( SELECT
               FROM open_keys k
              WHERE k.person = shown.user_id AND k.scope = ''::text AND k.wrapped IS NULL)) THEN 'erased'::text
            WHEN key_gone THEN 'expired'::text
            ELSE 'unreadable'::text
        END AS content_missing
   FROM ( SELECT m.id,
            m.room_id,
            m.user_id,
                CASE
                    WHEN m.key_id IS NULL OR k.wrapped IS NOT NULL THEN m.content
                    WHEN starts_with(k.scope, '~'::text) AND ( SELECT l.wrapped IS NOT NULL
                       FROM stored_events p
                         JOIN stored_events e ON e.originator_id = p.originator_id AND e.subject = ('message:'::text || m.id)
                         JOIN carried_words c ON c."position" = e.notification_id
                         JOIN open_keys l ON l.key_id = c.key_id
                      WHERE p.notification_id = m."position" AND (e.key_id = m.key_id OR (EXISTS ( SELECT
                               FROM carried_words before
                              WHERE before."position" = e.notification_id AND before.key_id = m.key_id)))
                      ORDER BY e.originator_version DESC, (l.wrapped IS NULL)
                     LIMIT 1) THEN m.content
                    ELSE NULL::text
                END AS content,
            m.created_at,
            m.reply_to,
            m.mentions,
            m."position",
            m.edited_at,
            m.deleted_at,
            m.reactions,
            m.pinned,
            m.key_id IS NOT NULL AND k.wrapped IS NULL AS key_gone
           FROM read_models.messages_v2 m
             LEFT JOIN open_keys k ON k.key_id = m.key_id) shown;
