"""Remedies: what a failure means and what a person does about it, as one data file.

A failure carries a `remedy_id`; matching a failure to its remedy lives with what is matched.
"""

from postroom.remedies.book import PLACEHOLDERS, Remedy, Step, all_remedies, fill, remedy

__all__ = ["PLACEHOLDERS", "Remedy", "Step", "all_remedies", "fill", "remedy"]
