"""Remedies: what a failure means and what a person does about it, as one data file.

A failure carries a `remedy_id`; matching a failure to its remedy lives with what is matched.
"""

from postroom.remedies.book import (
    PLACEHOLDERS,
    Cause,
    Remedy,
    Step,
    Way,
    all_remedies,
    fill,
    quote_for_powershell,
    remedy,
)

__all__ = ["PLACEHOLDERS", "Cause", "Remedy", "Step", "Way", "all_remedies", "fill", "quote_for_powershell", "remedy"]
