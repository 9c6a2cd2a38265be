CREATE VIEW public.readable_events AS
 SELECT e.originator_id,
    e.originator_version,
    e.topic,
    e.notification_id,
    e.stream,
    e.subject,
    e.recorded_at,
    e.recorded_by,
        CASE
            WHEN c.key_id IS NULL THEN e.state
            ELSE carried_state(e.state, c.key_id, c.sealed)
        END AS state,
    COALESCE(c.key_id, e.key_id) AS key_id,
    e.state AS stored
   FROM stored_events e
     LEFT JOIN LATERAL ( SELECT w.key_id,
            w.sealed
           FROM carried_words w
             LEFT JOIN person_keys k ON k.key_id = w.key_id
          WHERE w."position" = e.notification_id AND e.key_id IS NOT NULL AND NOT (EXISTS ( SELECT
                   FROM person_keys o
                  WHERE o.key_id = e.key_id AND o.wrapped IS NOT NULL))
          ORDER BY (k.wrapped IS NULL), (k.scope <> ''::text), w.key_id
         LIMIT 1) c ON true;
