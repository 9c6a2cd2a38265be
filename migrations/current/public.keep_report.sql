CREATE OR REPLACE FUNCTION public.keep_report()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'public', 'pg_temp'
AS $function$
DECLARE
    number text := public.clear_field(NEW.state, 'message');
    author text := public.clear_field(NEW.state, 'author');
BEGIN
    IF NEW.topic = 'report.ReportResolved.v1' THEN
        UPDATE public.reports r SET outcome = coalesce(public.clear_field(NEW.state, 'outcome'), '')
            WHERE r.originator_id = NEW.originator_id AND r.subject = NEW.subject AND r.outcome IS NULL;
    ELSIF author IS NOT NULL AND number ~ '^[0-9]{1,18}$' THEN  -- a damaged row reports nothing
        INSERT INTO public.reports
                (position, originator_id, seq, subject, message, author, reported_by, reported_at)
            VALUES (NEW.notification_id, NEW.originator_id, NEW.originator_version, NEW.subject,
                number::bigint, author, NEW.recorded_by, NEW.recorded_at)
            ON CONFLICT (subject) DO NOTHING;
    END IF;
    RETURN NULL;
END $function$;
