CREATE VIEW read_models.activity AS
 SELECT day,
    room_id,
    user_id,
    messages,
    first_at,
    last_at
   FROM read_models.activity_v1;
