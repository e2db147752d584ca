"""What a hostile process says, made harmless: no terminal sequences, no control characters."""

import codecs
import re
from typing import Any

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")  # bidirectional overrides too


def plain(text: str) -> str:
    """Lines and tabs stay; a carriage return, as progress bars use it, becomes a new line."""
    text = _ANSI.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    return _CONTROL.sub("", text)


def plain_json(value: Any) -> Any:
    """The same for every string in a JSON value."""
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, list):
        return [plain_json(item) for item in value]
    if isinstance(value, dict):
        return {plain(str(key)): plain_json(item) for key, item in value.items()}
    return value


class PlainText:
    """Bytes in pieces to harmless text in pieces; a character cut in two by a piece's end is put together again."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, piece: bytes, *, last: bool = False) -> bytes:
        return plain(self._decoder.decode(piece, last)).encode()
