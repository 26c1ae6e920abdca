"""The log: one line an event, as text for people or JSON for machines, on standard error."""

import logging
from collections.abc import Mapping
from typing import TextIO

import structlog

from postroom.settings import LogSettings


def _show_controls(_logger: object, _method: str, event: structlog.typing.EventDict) -> Mapping[str, object]:
    """What clients and servers said may hold what moves a terminal's cursor or turns the direction of letters."""
    return {name: _shown(value) if isinstance(value, str) else value for name, value in event.items()}


def _shown(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def configure_log(settings: LogSettings, stream: TextIO) -> None:
    """Set up structlog once, when the program starts."""
    renderers: list[structlog.typing.Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if settings.format == "json"
        # The default shows local variables, and a secret may be one of them.
        else [
            _show_controls,
            structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback),
        ]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[settings.level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=False,
    )
