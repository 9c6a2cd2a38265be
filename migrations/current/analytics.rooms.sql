CREATE VIEW analytics.rooms AS
 SELECT room_id,
    name,
    visibility,
    created_at,
    created_by,
    head,
    last_message_id,
    last_message_at,
    COALESCE(( SELECT sum(a.messages)::bigint AS sum
           FROM read_models.activity a
          WHERE a.room_id = r.room_id), 0::bigint) AS messages,
    ( SELECT count(*) AS count
           FROM read_models.memberships m
          WHERE m.room_id = r.room_id AND m.left_seq IS NULL) AS members
   FROM read_models.rooms r;
