"""Server-sent events, from lines."""

from dataclasses import dataclass, field


@dataclass
class Message:
    event: str = "message"
    data: str = ""
    id: str | None = None


@dataclass
class Parser:
    """Fed line by line; answers a message at each blank line that ends one (WHATWG, section 9.2.6)."""

    _event: str = ""
    _data: list[str] = field(default_factory=list)
    _id: str | None = None

    def feed(self, line: str) -> Message | None:
        """The message that this line ends, if it ends one. Comments (a server's pings) are passed over."""
        if line:
            self._take(line)
            return None
        if not self._data and not self._event:
            return None
        message = Message(self._event or "message", "\n".join(self._data), self._id)
        self._event, self._data = "", []
        return message

    def _take(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._event = value
        elif name == "data":
            self._data.append(value)
        elif name == "id":
            self._id = value
