"""Postroom: the outbound mail server between everything that sends mail and Microsoft 365."""

__version__ = "0.1.0"
