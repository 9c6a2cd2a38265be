CREATE OR REPLACE FUNCTION public.sha1(content bytea)
 RETURNS bytea
 LANGUAGE plpgsql
 IMMUTABLE PARALLEL SAFE STRICT
 SET search_path TO 'pg_catalog', 'public', 'pg_temp'
AS $function$
DECLARE
    full_word CONSTANT bigint := 4294967295;
    padded bytea;
    w bigint[];
    x bigint;
    h0 bigint := 1732584193; h1 bigint := 4023233417; h2 bigint := 2562383102; h3 bigint := 271733878; h4 bigint := 3285377520;
    a bigint; b bigint; c bigint; d bigint; e bigint; next_a bigint;
BEGIN
    padded := content || '\x80'::bytea || decode(repeat('00', (119 - length(content) % 64) % 64), 'hex')
        || int8send(8::bigint * length(content));
    FOR block IN 0 .. length(padded) / 64 - 1 LOOP
        w := array_fill(0::bigint, ARRAY[80]);
        FOR t IN 0 .. 15 LOOP
            w[t + 1] := ('x' || encode(substr(padded, block * 64 + t * 4 + 1, 4), 'hex'))::bit(32)::bigint;
        END LOOP;
        FOR t IN 17 .. 80 LOOP
            x := w[t - 3] # w[t - 8] # w[t - 14] # w[t - 16];
            w[t] := ((x << 1) | (x >> 31)) & full_word;
        END LOOP;
        a := h0; b := h1; c := h2; d := h3; e := h4;
        FOR t IN 1 .. 80 LOOP
            next_a := ((((a << 5) | (a >> 27)) & full_word) + e + w[t] + CASE
                WHEN t <= 20 THEN ((b & c) | ((full_word # b) & d)) + 1518500249
                WHEN t <= 40 THEN (b # c # d) + 1859775393
                WHEN t <= 60 THEN ((b & c) | (b & d) | (c & d)) + 2400959708
                ELSE (b # c # d) + 3395469782 END) & full_word;
            e := d; d := c; c := ((b << 30) | (b >> 2)) & full_word; b := a; a := next_a;
        END LOOP;
        h0 := (h0 + a) & full_word; h1 := (h1 + b) & full_word; h2 := (h2 + c) & full_word;
        h3 := (h3 + d) & full_word; h4 := (h4 + e) & full_word;
    END LOOP;
    RETURN substr(int8send(h0), 5) || substr(int8send(h1), 5) || substr(int8send(h2), 5) || substr(int8send(h3), 5)
        || substr(int8send(h4), 5);
END $function$;
