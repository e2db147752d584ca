#!/bin/sh
# Make the full stack's secrets, once, as files in deploy/secrets. What is there already stays.
# The folder is closed to others; the files are not, because Compose hands them over with their mode as it is,
# to containers that run as users of their own.
set -eu
cd "$(dirname "$0")"
umask 077
mkdir -p secrets
chmod 700 secrets
cd secrets

random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
# keep NAME VALUE: write the file unless it is there.
keep() { [ -s "$1" ] || printf '%s' "$2" > "$1"; chmod 444 "$1"; }

keep postgres_password "$(random)"
keep owner_password "$(random)"
keep app_password "$(random)"
keep modelpress_s3_access_key "mp$(random | cut -c1-18)"
keep modelpress_s3_secret_key "$(random)"
keep modelpress_key_pepper "$(random)"
keep redis_auth "requirepass $(random)"

keep modelpress_owner_database_url "postgresql+psycopg://modelpress_owner:$(cat owner_password)@postgres:5432/modelpress"
keep modelpress_database_url "postgresql+psycopg://modelpress_app:$(cat app_password)@postgres:5432/modelpress"
keep modelpress_redis_url "redis://:$(cut -d' ' -f2 redis_auth)@redis:6379/0"
keep s3_identities "$(cat <<JSON
{
  "identities": [
    {
      "name": "modelpress",
      "credentials": [{"accessKey": "$(cat modelpress_s3_access_key)", "secretKey": "$(cat modelpress_s3_secret_key)"}],
      "actions": ["Admin", "Read", "Write", "List", "Tagging"]
    }
  ]
}
JSON
)"
echo "deploy/secrets holds $(ls | wc -l | tr -d ' ') files; keep a copy in a safe place"
