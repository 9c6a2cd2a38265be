CREATE VIEW analytics.read_receipts AS
 SELECT room_id,
    user_id,
    last_read_message_id,
    last_read_at
   FROM read_models.read_receipts;
