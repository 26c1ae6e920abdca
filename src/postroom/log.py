"""The log: one line an event, as text for people or JSON for machines, on standard error."""

import logging
from typing import TextIO

import structlog

from postroom.settings import LogSettings


def configure_log(settings: LogSettings, stream: TextIO) -> None:
    """Set up structlog once, when the program starts."""
    renderers: list[structlog.typing.Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if settings.format == "json"
        # The default shows local variables, and a secret may be one of them.
        else [structlog.dev.ConsoleRenderer(stream.isatty(), exception_formatter=structlog.dev.plain_traceback)]
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
