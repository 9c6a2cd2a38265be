CREATE OR REPLACE FUNCTION public.summarize_reaction(originator_id uuid, message bigint, user_id text, emoji text, added boolean)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'public', 'pg_temp'
AS $function$
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
END $function$;
