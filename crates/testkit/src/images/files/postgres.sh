#!/bin/sh
# Makes the cluster on the first start; then PostgreSQL is the only process, and stops by its own signal.
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  initdb --username=postgres --auth=trust --no-sync --no-instructions --locale=C.UTF-8
  echo "listen_addresses = '*'" >> "$PGDATA/postgresql.conf"
  echo "host all all all trust" >> "$PGDATA/pg_hba.conf"
fi
exec "$@"
