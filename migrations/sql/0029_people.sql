-- The people who have signed in, by the texts under which they are found: see projections/people.py. Names are encrypted in
-- the log, so a projector fills the table, from the first event on.
SET LOCAL ROLE onrecord_projector;
CREATE TABLE read_models.people_v1 (
    user_id text NOT NULL,
    place smallint NOT NULL,
    entry text COLLATE "C" NOT NULL,
    PRIMARY KEY (user_id, place)
);
COMMENT ON TABLE read_models.people_v1 IS 'Texts with which user ids and words of display names begin';
COMMENT ON COLUMN read_models.people_v1.place IS '0 for the user id, from 1 on for the words of the display name';
CREATE INDEX people_v1_entry_idx ON read_models.people_v1 (entry, user_id);
-- ANALYZE would keep samples of names that erasure does not reach.
ALTER TABLE read_models.people_v1 ALTER COLUMN entry SET STATISTICS 0;
GRANT SELECT ON read_models.people_v1 TO onrecord_node;
RESET ROLE;

INSERT INTO notification_tracking (application_name, notification_id) VALUES ('people_v1', 0) ON CONFLICT DO NOTHING;
