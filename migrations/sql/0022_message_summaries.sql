-- Summaries of messages: what a command about a message is decided on, in two rows, however long the message's history is
-- (docs/decisions/0025-message-summaries.md). A trigger on the log maintains them in the transaction of the append, for
-- every writer, so `chat_append` and nodes of the version before need no change. They hold no content.

CREATE TABLE message_summaries (
    originator_id uuid NOT NULL,
    message bigint NOT NULL,
    edits integer NOT NULL DEFAULT 0,
    last_edit bigint,
    deleted bigint,
    reactions integer NOT NULL DEFAULT 0,
    emoji jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (originator_id, message)
) WITH (fillfactor = 70);
COMMENT ON TABLE message_summaries IS 'Messages that were edited, deleted or reacted to. Maintained by a trigger on stored_events';
COMMENT ON COLUMN message_summaries.last_edit IS 'The seq of the event with the newest content, null where that is the post';
COMMENT ON COLUMN message_summaries.deleted IS 'The seq of the deletion';
COMMENT ON COLUMN message_summaries.reactions IS 'Events that added or removed a reaction';
COMMENT ON COLUMN message_summaries.emoji IS 'How many users have each emoji on the message';

CREATE TABLE message_users (
    originator_id uuid NOT NULL,
    message bigint NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    emoji text[] NOT NULL DEFAULT '{}',
    reactions integer NOT NULL DEFAULT 0,
    pins integer NOT NULL DEFAULT 0,
    PRIMARY KEY (originator_id, message, user_id)
) WITH (fillfactor = 70);
COMMENT ON TABLE message_users IS 'Users who reacted to a message or pinned it. Maintained by a trigger on stored_events';
COMMENT ON COLUMN message_users.emoji IS 'The emoji that the user has on the message; meaningless once the message is deleted';
COMMENT ON COLUMN message_users.reactions IS 'How often the user added a reaction, ever';
COMMENT ON COLUMN message_users.pins IS 'How often the user pinned the message, ever';

GRANT SELECT ON message_summaries, message_users TO onrecord_node, onrecord_projector;
GRANT SELECT, INSERT, UPDATE ON message_summaries, message_users TO onrecord_definer;

-- Readers find the newest edit of a message, and its reactions, without the edits that were replaced. Only edits and
-- reactions pay for them.
CREATE INDEX stored_events_edits_idx ON stored_events (originator_id, subject, originator_version)
    WHERE topic = 'room.MessageEdited.v1';
CREATE INDEX stored_events_reactions_idx ON stored_events (originator_id, subject, originator_version)
    WHERE topic IN ('room.ReactionAdded.v1', 'room.ReactionRemoved.v1');

-- The last event of each kind about a person is found without the others: a person may have had any number of names.
DROP INDEX stored_events_people_idx;
CREATE INDEX stored_events_people_idx ON stored_events (originator_id, topic, originator_version)
    WHERE starts_with(stream, 'person:');

-- A damaged state has no such field.
CREATE FUNCTION clear_field(state bytea, field text) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN convert_from(state, 'UTF8')::jsonb ->> field;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    RETURN NULL;
END $$;

-- Counts one event about a message; the trigger below and the end of this migration call it, in the order of the log.
CREATE FUNCTION summarize_event(e stored_events) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    number text := CASE WHEN e.subject = 'settings' THEN public.clear_field(e.state, 'message')
        WHEN starts_with(e.subject, 'message:') THEN substr(e.subject, 9) END;
BEGIN
    IF number IS NULL OR number !~ '^[0-9]{1,18}$' THEN
        RETURN;  -- a damaged row is about no message
    END IF;
    CASE e.topic
        WHEN 'room.MessageEdited.v1' THEN
            INSERT INTO public.message_summaries AS s (originator_id, message, edits, last_edit)
                VALUES (e.originator_id, number::bigint, 1, e.originator_version)
                ON CONFLICT (originator_id, message) DO UPDATE
                SET edits = s.edits + 1, last_edit = excluded.last_edit;
        WHEN 'room.MessageDeleted.v1' THEN
            INSERT INTO public.message_summaries AS s (originator_id, message, deleted)
                VALUES (e.originator_id, number::bigint, e.originator_version)
                ON CONFLICT (originator_id, message) DO UPDATE
                SET deleted = coalesce(s.deleted, excluded.deleted), emoji = '{}';
        WHEN 'room.MessagePinned.v1' THEN
            INSERT INTO public.message_users AS u (originator_id, message, user_id, pins)
                VALUES (e.originator_id, number::bigint, e.recorded_by, 1)
                ON CONFLICT (originator_id, message, user_id) DO UPDATE SET pins = u.pins + 1;
        WHEN 'room.ReactionAdded.v1', 'room.ReactionRemoved.v1' THEN
            PERFORM public.summarize_reaction(e.originator_id, number::bigint, e.recorded_by,
                public.clear_field(e.state, 'emoji'), e.topic = 'room.ReactionAdded.v1');
    END CASE;
END $$;

CREATE FUNCTION summarize_reaction(
    originator_id uuid, message bigint, user_id text, emoji text, added boolean
) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
#variable_conflict use_column
DECLARE
    present boolean;
    users integer;
BEGIN
    IF summarize_reaction.emoji IS NULL THEN
        RETURN;  -- a damaged row adds nothing
    END IF;
    SELECT summarize_reaction.emoji = ANY (u.emoji) INTO present FROM public.message_users u
        WHERE u.originator_id = summarize_reaction.originator_id AND u.message = summarize_reaction.message
            AND u.user_id = summarize_reaction.user_id;
    SELECT (s.emoji ->> summarize_reaction.emoji)::integer INTO users FROM public.message_summaries s
        WHERE s.originator_id = summarize_reaction.originator_id AND s.message = summarize_reaction.message;
    present := coalesce(present, false);
    users := coalesce(users, 0) + added::integer - present::integer;
    INSERT INTO public.message_users AS u (originator_id, message, user_id, emoji, reactions)
        VALUES (summarize_reaction.originator_id, summarize_reaction.message, summarize_reaction.user_id,
            CASE WHEN added THEN ARRAY[summarize_reaction.emoji] ELSE '{}' END, added::integer)
        ON CONFLICT (originator_id, message, user_id) DO UPDATE
        SET reactions = u.reactions + excluded.reactions,
            emoji = array_remove(u.emoji, summarize_reaction.emoji) || excluded.emoji;
    INSERT INTO public.message_summaries AS s (originator_id, message, reactions, emoji)
        VALUES (summarize_reaction.originator_id, summarize_reaction.message, 1,
            CASE WHEN users > 0 THEN jsonb_build_object(summarize_reaction.emoji, users) ELSE '{}' END)
        ON CONFLICT (originator_id, message) DO UPDATE
        SET reactions = s.reactions + 1, emoji = (s.emoji - summarize_reaction.emoji) || excluded.emoji;
END $$;

CREATE FUNCTION summarize_message() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    PERFORM public.summarize_event(NEW);
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION clear_field, summarize_event, summarize_reaction, summarize_message FROM PUBLIC;
GRANT EXECUTE ON FUNCTION clear_field, summarize_event, summarize_reaction TO onrecord_definer;
-- Posts cost the look at their topic alone. This also locks the log against appends until the migration ends.
CREATE TRIGGER summarize_message AFTER INSERT ON stored_events FOR EACH ROW
    WHEN (NEW.topic IN ('room.MessageEdited.v1', 'room.MessageDeleted.v1', 'room.MessagePinned.v1',
        'room.ReactionAdded.v1', 'room.ReactionRemoved.v1'))
    EXECUTE FUNCTION summarize_message();

-- The log so far; about 30,000 events a second.
DO $$
DECLARE
    e stored_events;
BEGIN
    FOR e IN
        SELECT * FROM stored_events
        WHERE topic IN ('room.MessageEdited.v1', 'room.MessageDeleted.v1', 'room.MessagePinned.v1',
            'room.ReactionAdded.v1', 'room.ReactionRemoved.v1')
        ORDER BY notification_id
    LOOP
        PERFORM summarize_event(e);
    END LOOP;
END $$;
