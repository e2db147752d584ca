"""Rings through a real broker: a message a ring, and no harm where the broker is away."""

import json

import redis

from store.broker import CeleryRings
from store.rings import TASK


def test_a_ring_is_a_message_in_the_queue_that_asks_for_the_one_task(redis_url: str):
    rings = CeleryRings(redis_url)
    assert rings.ring("modelpress.cpu")
    assert rings.ring("modelpress.cpu")
    with redis.Redis.from_url(redis_url) as client:
        [queue] = [key for key in client.scan_iter() if key.endswith(b"modelpress.cpu") and client.type(key) == b"list"]
        messages = client.lrange(queue, 0, -1)
    assert [json.loads(message)["headers"]["task"] for message in messages] == [TASK, TASK]
    rings.close()


def test_a_broker_that_is_away_is_asked_quickly_and_not_again_at_once():
    rings = CeleryRings("redis://127.0.0.1:1/0")
    assert not any(rings.ring("modelpress.cpu") for _ in range(100))
    rings.close()
