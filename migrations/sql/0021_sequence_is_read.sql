-- `onrecord audit verify` holds the positions of the log against the sequence that gives them out. SELECT on a sequence
-- shows its last value and takes no number.
GRANT SELECT ON SEQUENCE stored_events_notification_id_seq TO onrecord_node, onrecord_projector;
