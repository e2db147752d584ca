"""The only door to the database, the blob store and the broker.

A worker needs, in this order: `claims.claim`, `cache.BlobCache.fetch` for its inputs, `leases.heartbeat` and
`leases.look` while the child runs, `events.record` and `logs.append` for what it says, `contents.keep` for what it
made, and one of `leases.finish`, `fail`, `cancelled`, `requeue`. A `verify` job needs only `uploads.verify`.
All but those that take a `Database` want a session: `with database.write() as session: ...`.
"""
