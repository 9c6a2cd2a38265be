CREATE VIEW public.room_rules AS
 SELECT room,
    room_id,
    days
   FROM ( SELECT DISTINCT ON (e.originator_id) substr(e.stream, 6) AS room,
            e.originator_id AS room_id,
            days_in_rule(e.state) AS days
           FROM stored_events e
          WHERE e.topic = 'room.RoomRetentionChanged.v1'::text AND starts_with(e.stream, 'room:'::text)
          ORDER BY e.originator_id, e.originator_version DESC) rule
  WHERE days IS NOT NULL;
