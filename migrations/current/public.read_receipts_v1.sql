CREATE VIEW public.read_receipts_v1 AS
 SELECT user_id,
    room_id,
    last_read_at,
    last_read_message_id
   FROM read_models.read_receipts_v1;
