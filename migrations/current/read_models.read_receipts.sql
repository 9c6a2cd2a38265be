CREATE VIEW read_models.read_receipts AS
 SELECT user_id,
    room_id,
    last_read_at,
    last_read_message_id
   FROM read_models.read_receipts_v1;
