"""Serving HTTP until told to stop, and then going on to what comes after."""

import signal
import socket

import uvicorn


def serve_until_told(config: uvicorn.Config, sockets: list[socket.socket] | None = None) -> None:
    """Serve until SIGINT or SIGTERM. uvicorn sends itself that signal once more at its end, which would end us too;
    a second one from outside does so.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: signal.signal(number, signal.SIG_DFL))
    uvicorn.Server(config).run(sockets=sockets)
