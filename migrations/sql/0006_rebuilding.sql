-- What is filled anew beside a read model has a row in notification_tracking under its own name, until it has taken its
-- place. Whoever may write that table may ask for it: INSERT INTO notification_tracking VALUES ('messages_v2_again', 0).

GRANT DELETE ON notification_tracking TO onrecord_projector;
