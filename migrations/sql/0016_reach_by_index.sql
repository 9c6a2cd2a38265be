-- A connection keeps the plans of `chat_append` from its first batches. On a new server these are made on small tables,
-- where reading the whole table is cheapest, and it stays so while the tables grow, until autovacuum comes by: a minute
-- or more, in which each command of a batch read all refs there are.

ALTER FUNCTION chat_append(
    text[], uuid[], text[], text[], bytea[], bigint[], text[], boolean[], bigint[], integer[],
    text[], text[], bytea[], uuid[]
) SET enable_seqscan = off;
