"""A line of the table of pages."""

from dataclasses import dataclass

from postroom.console.visit import Answer


@dataclass(frozen=True)
class Page:
    """Who answers a method at a path."""

    method: str
    path: str
    answer: Answer
    is_public: bool = False
    """Open to people who have not signed in."""
