CREATE VIEW analytics.daily_totals AS
 SELECT day,
    sum(messages)::bigint AS messages,
    count(DISTINCT user_id) AS writers,
    count(DISTINCT room_id) AS rooms
   FROM read_models.activity
  GROUP BY day;
