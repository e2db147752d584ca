"""Logs as JSON lines, without secrets in them."""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

_SIGNED = re.compile(r"(X-Amz-[A-Za-z-]+=)[^&\s\"']+")
_KEY = re.compile(r"\bmp_([a-z0-9]{1,8})_([0-9a-z]{26})_[0-9a-f]+_[0-9a-f]{8}\b")
_PASSWORD = re.compile(r"(\w+://[^:/\s]*:)[^@\s]+@")


def redact(text: str) -> str:
    """Without signatures of presigned addresses, secrets of API keys and passwords in addresses."""
    return _PASSWORD.sub(r"\1***@", _KEY.sub(r"mp_\1_\2_***", _SIGNED.sub(r"\1***", text)))


def _redact_all(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {key: redact(value) if isinstance(value, str) else value for key, value in event.items()}


def configure(level: str = "INFO") -> None:
    """JSON lines on standard error, for us and for the libraries that use `logging`."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _redact_all,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _redact_all,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in ("botocore", "boto3", "urllib3", "s3transfer", "httpx"):
        logging.getLogger(name).setLevel(logging.WARNING)  # debug lines carry signatures, httpx tells of each request
