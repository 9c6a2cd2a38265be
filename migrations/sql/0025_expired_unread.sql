-- Messages whose retention is over do not count as unread. The table lacks the expiries so far, so a projector rebuilds
-- it beside the live one, where there are any.
INSERT INTO notification_tracking (application_name, notification_id)
    SELECT 'tallies_v2_again', 0
    WHERE EXISTS (SELECT FROM stored_events WHERE topic = 'retention.ContentExpired.v1'
        AND originator_id = (SELECT id_of_stream('retention')))
    ON CONFLICT DO NOTHING;
