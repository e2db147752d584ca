"""Ids: a type prefix and a UUIDv7 in 26 characters of base32; they sort by the time they were made."""

import uuid_utils

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's: ordered as ASCII, nothing that looks alike
_LENGTH = 26


def new_id(prefix: str) -> str:
    """Such as `job_06f2k9...`; ids made later in one process are greater."""
    number = uuid_utils.uuid7().int
    return f"{prefix}_" + "".join(_ALPHABET[number >> shift & 31] for shift in range(5 * (_LENGTH - 1), -1, -5))


def is_id(text: str, prefix: str) -> bool:
    head, _, tail = text.partition("_")
    return head == prefix and len(tail) == _LENGTH and set(tail) <= set(_ALPHABET)
