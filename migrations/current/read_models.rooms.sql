CREATE VIEW read_models.rooms AS
 SELECT room_id,
    name,
    visibility,
    created_at,
    created_by,
    head,
    last_message_id,
    last_message_at,
        CASE
            WHEN (EXISTS ( SELECT
               FROM readable_events e
                 JOIN open_keys k ON k.key_id = e.key_id
              WHERE e.notification_id = r.topic_position AND k.wrapped IS NOT NULL)) THEN topic
            ELSE NULL::text
        END AS topic,
    archived
   FROM read_models.rooms_v2 r;
