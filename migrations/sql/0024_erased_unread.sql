-- Messages of erased users do not count as unread. The rows follow from those of `tallies_v1`, and have the log as far as
-- that table has it. Nodes of the version before read `tallies_v1`, which their projector follows.

-- No projector may move the first version while it is copied.
LOCK TABLE read_models.tallies_v1 IN SHARE MODE;
SET LOCAL ROLE onrecord_projector;

CREATE TABLE read_models.tallies_v2 (LIKE read_models.tallies_v1 INCLUDING COMMENTS) WITH (fillfactor = 50);
COMMENT ON TABLE read_models.tallies_v2 IS 'Which messages count as unread, a bit for each of 1,024 numbers of a room';
-- No query has a condition on the bits, and they are many.
ALTER TABLE read_models.tallies_v2
    ALTER COLUMN said SET STATISTICS 0, ALTER COLUMN mentioned SET STATISTICS 0;
INSERT INTO read_models.tallies_v2 (room_id, user_id, block, said, mentioned)
    SELECT room_id, user_id, block, said, mentioned FROM read_models.tallies_v1;
ALTER TABLE read_models.tallies_v2 ADD PRIMARY KEY (room_id, user_id, block);
-- A deletion whose post is damaged, and an erasure, are in the rows of all users of a block.
CREATE INDEX tallies_v2_block_idx ON read_models.tallies_v2 (room_id, block);
-- An erasure is in all rows of the author.
CREATE INDEX tallies_v2_user_idx ON read_models.tallies_v2 (user_id);

UPDATE read_models.tallies_v2 known
SET said = known.said & ~gone.bits, mentioned = known.mentioned & ~gone.bits
FROM (
    SELECT room_id, block, bit_or(said) AS bits FROM read_models.tallies_v1
    WHERE said IS NOT NULL AND user_id IN (SELECT person FROM public.open_keys WHERE scope = '' AND wrapped IS NULL)
    GROUP BY 1, 2) gone
WHERE known.room_id = gone.room_id AND known.block = gone.block
    AND (bit_count(known.said & gone.bits) > 0 OR bit_count(known.mentioned & gone.bits) > 0);
GRANT SELECT ON read_models.tallies_v2 TO onrecord_node;
RESET ROLE;

INSERT INTO notification_tracking (application_name, notification_id)
    SELECT 'tallies_v2', notification_id FROM notification_tracking WHERE application_name = 'tallies_v1';
ANALYZE read_models.tallies_v2;
