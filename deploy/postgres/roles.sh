#!/bin/bash
# At the database's first start: one role owns the tables and migrates, the other uses them and owns nothing.
set -euo pipefail
secrets=${SECRETS_DIR:-/run/secrets}
psql --set ON_ERROR_STOP=1 --quiet --no-psqlrc --username "${POSTGRES_USER:-postgres}" --dbname "$POSTGRES_DB" \
    --set owner_password="$(cat "$secrets/owner_password")" \
    --set app_password="$(cat "$secrets/app_password")" \
    --set database="$POSTGRES_DB" <<'SQL'
CREATE ROLE modelpress_owner LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'owner_password';
CREATE ROLE modelpress_app LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'app_password';
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
ALTER DATABASE :"database" OWNER TO modelpress_owner;
GRANT CONNECT ON DATABASE :"database" TO modelpress_app;
ALTER DEFAULT PRIVILEGES FOR ROLE modelpress_owner GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO modelpress_app;
ALTER DEFAULT PRIVILEGES FOR ROLE modelpress_owner GRANT USAGE, SELECT ON SEQUENCES TO modelpress_app;
SQL
