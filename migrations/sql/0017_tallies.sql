-- Unread messages are counted by a bit for each message that stands, a row for a thousand of them, and not message by
-- message. The rows follow from those of `messages_v2`, and have the log as far as that table has it.

SET LOCAL ROLE onrecord_projector;
-- No projector may move the messages while they are carried over.
LOCK TABLE messages_v2 IN SHARE MODE;

CREATE TABLE tallies_v1 (
    room_id text NOT NULL,
    user_id text NOT NULL,
    block bigint NOT NULL,
    said bit(1024),
    mentioned bit(1024),
    PRIMARY KEY (room_id, user_id, block)
) WITH (fillfactor = 50);
COMMENT ON TABLE tallies_v1 IS 'Which messages stand, a bit for each of 1,024 numbers of a room';
COMMENT ON COLUMN tallies_v1.user_id IS 'The author, or who is mentioned; everybody''s messages are in the rows of ''''';
COMMENT ON COLUMN tallies_v1.block IS 'The numbers from 1,024 times this on';
COMMENT ON COLUMN tallies_v1.said IS 'Messages of the person that are not deleted; null where there never was one';
COMMENT ON COLUMN tallies_v1.mentioned IS 'Messages of others that mention the person and are not deleted; likewise';
-- Nothing is asked about the bits themselves, and they are many.
ALTER TABLE tallies_v1 ALTER COLUMN said SET STATISTICS 0, ALTER COLUMN mentioned SET STATISTICS 0;

INSERT INTO tallies_v1 (room_id, user_id, block, said, mentioned)
SELECT room_id, user_id, id / 1024,
    bit_or(bits) FILTER (WHERE NOT mention), bit_or(bits) FILTER (WHERE mention)
FROM (
    SELECT m.room_id, about.user_id, m.id, about.mention,
        CASE WHEN m.deleted_at IS NULL THEN set_bit(0::bit(1024), (m.id % 1024)::integer, 1) ELSE 0::bit(1024) END AS bits
    FROM messages_v2 m CROSS JOIN LATERAL (
        SELECT '', false UNION ALL SELECT m.user_id, false
        UNION ALL SELECT named.user_id, true FROM unnest(m.mentions) AS named (user_id) WHERE named.user_id <> m.user_id
    ) AS about (user_id, mention)) counted
GROUP BY 1, 2, 3;
-- A deletion is in the rows of everybody whom the message is about.
CREATE INDEX tallies_v1_block_idx ON tallies_v1 (room_id, block);
GRANT SELECT ON tallies_v1 TO onrecord_node;
RESET ROLE;

INSERT INTO notification_tracking (application_name, notification_id)
    SELECT 'tallies_v1', notification_id FROM notification_tracking WHERE application_name = 'messages_v2';
ANALYZE tallies_v1;
