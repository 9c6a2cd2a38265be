-- Makes the owner that migrates, which is no superuser, and hands it what a superuser has migrated before.
--
-- Run it in the database of OnRecord, as a superuser, before `onrecord migrate`; running it again changes nothing. It
-- gives nobody a password. `onrecord dev` and docker-compose.yml run it at each start; docs/guides/deploy.md says when an
-- operator does. A function that another role has put into `public` is never called here. Where the roles of this
-- installation have another prefix (ONRECORD_DATABASE_ROLE_PREFIX), name it first: SET onrecord.role_prefix = 'chat_b'.

SET search_path = pg_catalog;

DO $$
DECLARE
    prefix CONSTANT text := coalesce(nullif(current_setting('onrecord.role_prefix', true), ''), 'onrecord');
    made_owner CONSTANT text := prefix || '_owner';
    wanted text;
    granted record;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = made_owner) THEN
        EXECUTE format('CREATE ROLE %I LOGIN CREATEROLE', made_owner);
    END IF;
    FOREACH wanted IN ARRAY ARRAY['node', 'projector', 'sealer', 'definer', 'analyst'] LOOP
        wanted := prefix || '_' || wanted;
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
        END IF;
        EXECUTE format('GRANT %I TO %I WITH ADMIN OPTION', wanted, made_owner);
    END LOOP;
    -- Memberships that this superuser granted become the owner's to revoke (roles have grantors since version 16).
    IF current_setting('server_version_num')::integer >= 160000 THEN
        FOR granted IN
            SELECT m.roleid::regrole AS role, m.member::regrole AS member FROM pg_auth_members m
            WHERE m.roleid::regrole::text IN (prefix || '_node', prefix || '_projector') AND NOT m.admin_option
                AND m.grantor = CURRENT_USER::regrole
        LOOP
            EXECUTE format('GRANT %s TO %s GRANTED BY %I', granted.role, granted.member, made_owner);
            EXECUTE format('REVOKE %s FROM %s GRANTED BY CURRENT_USER', granted.role, granted.member);
        END LOOP;
    END IF;
    EXECUTE format('ALTER DATABASE %I OWNER TO %I', current_database(), made_owner);
END $$;

-- What this superuser owns in the schemas of OnRecord, but for what belongs to an extension.
DO $$
DECLARE
    made_owner CONSTANT text :=
        coalesce(nullif(current_setting('onrecord.role_prefix', true), ''), 'onrecord') || '_owner';
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
        EXECUTE format('ALTER %s OWNER TO %I', handed.what, made_owner);
    END LOOP;
END $$;

RESET search_path;
