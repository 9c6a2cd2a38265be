-- Reports of messages: which are open, and how many a user has made, without the log's past
-- (docs/decisions/0027-reports.md). A trigger on the log maintains the table in the transaction of the append. It holds
-- no content: reasons and notes are in the log alone.

CREATE TABLE reports (
    position bigint PRIMARY KEY,
    originator_id uuid NOT NULL,
    seq bigint NOT NULL,
    subject text COLLATE "C" NOT NULL UNIQUE,
    message bigint NOT NULL,
    author text COLLATE "C" NOT NULL,
    reported_by text COLLATE "C" NOT NULL,
    reported_at timestamptz NOT NULL,
    outcome text
) WITH (fillfactor = 90);
COMMENT ON TABLE reports IS 'Reports of messages. Maintained by a trigger on stored_events';
COMMENT ON COLUMN reports.position IS 'The position of the event that reported the message';
COMMENT ON COLUMN reports.originator_id IS 'The stream of the reports of the room';
COMMENT ON COLUMN reports.outcome IS 'How the report was resolved, null while it is open';

CREATE INDEX reports_open_idx ON reports (originator_id, position) WHERE outcome IS NULL;
CREATE INDEX reports_all_open_idx ON reports (position) WHERE outcome IS NULL;
CREATE INDEX reports_by_idx ON reports (reported_by, reported_at);

GRANT SELECT ON reports TO onrecord_node;
GRANT SELECT, INSERT, UPDATE ON reports TO onrecord_definer;

CREATE FUNCTION keep_report() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
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
END $$;
REVOKE ALL ON FUNCTION keep_report FROM PUBLIC;
-- Other events cost the look at their topic alone. This also locks the log against appends until the migration ends.
CREATE TRIGGER keep_report AFTER INSERT ON stored_events FOR EACH ROW
    WHEN (NEW.topic IN ('report.MessageReported.v1', 'report.ReportResolved.v1'))
    EXECUTE FUNCTION keep_report();
