-- Makes the owner that migrates, which is no superuser, and hands it what a superuser has migrated before.
--
-- Run it in the database of OnRecord, as a superuser, before `onrecord migrate`; running it again changes nothing. It
-- gives nobody a password. `onrecord dev` and docker-compose.yml run it at each start; docs/guides/deploy.md says when an
-- operator does. A function that another role has put into `public` is never called here.

SET search_path = pg_catalog;

DO $$
DECLARE
    wanted text;
    granted record;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'onrecord_owner') THEN
        CREATE ROLE onrecord_owner LOGIN CREATEROLE;
    END IF;
    FOREACH wanted IN ARRAY ARRAY['onrecord_node', 'onrecord_projector', 'onrecord_sealer', 'onrecord_definer',
        'onrecord_analyst'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
        END IF;
        EXECUTE format('GRANT %I TO onrecord_owner WITH ADMIN OPTION', wanted);
    END LOOP;
    -- Memberships that this superuser granted become the owner's to revoke (roles have grantors since version 16).
    IF current_setting('server_version_num')::integer >= 160000 THEN
        FOR granted IN
            SELECT m.roleid::regrole AS role, m.member::regrole AS member FROM pg_auth_members m
            WHERE m.roleid::regrole::text IN ('onrecord_node', 'onrecord_projector') AND NOT m.admin_option
                AND m.grantor = CURRENT_USER::regrole
        LOOP
            EXECUTE format('GRANT %s TO %s GRANTED BY onrecord_owner', granted.role, granted.member);
            EXECUTE format('REVOKE %s FROM %s GRANTED BY CURRENT_USER', granted.role, granted.member);
        END LOOP;
    END IF;
    EXECUTE format('ALTER DATABASE %I OWNER TO onrecord_owner', current_database());
END $$;

-- What this superuser owns in the schemas of OnRecord, but for what belongs to an extension.
DO $$
DECLARE
    handed record;
BEGIN
    FOR handed IN
        WITH ours AS (
            SELECT n.oid, n.nspname FROM pg_namespace n WHERE n.nspname IN ('public', 'read_models', 'analytics'))
        SELECT format('SCHEMA %I', o.nspname) AS what
            FROM ours o JOIN pg_namespace n USING (oid) WHERE n.nspowner = CURRENT_USER::regrole
        UNION ALL
        SELECT format('%s %I.%I', CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'S' THEN 'SEQUENCE' WHEN 'c' THEN 'TYPE'
                WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'TABLE' END, o.nspname, c.relname)
            FROM ours o JOIN pg_class c ON c.relnamespace = o.oid
            WHERE c.relowner = CURRENT_USER::regrole AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'c')
                AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                    AND (d.deptype = 'e' OR d.deptype IN ('a', 'i') AND c.relkind = 'S'))
        UNION ALL
        SELECT format('%s %s', CASE p.prokind WHEN 'p' THEN 'PROCEDURE' WHEN 'a' THEN 'AGGREGATE' ELSE 'FUNCTION' END,
                p.oid::regprocedure)
            FROM ours o JOIN pg_proc p ON p.pronamespace = o.oid
            WHERE p.proowner = CURRENT_USER::regrole
                AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid
                    AND d.deptype = 'e')
    LOOP
        EXECUTE format('ALTER %s OWNER TO onrecord_owner', handed.what);
    END LOOP;
END $$;

RESET search_path;
