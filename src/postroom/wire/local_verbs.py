"""Verbs of our own, which only the socket of this machine knows: what `mailq` and `sendmail -q` say to the server."""

QUEUE_VERB = "XQUEUE"
"""Lists what waits: a first line for people, then one JSON object a line."""

FLUSH_VERB = "XFLUSH"
"""Tries again what was put off: everything, or what the id or site behind it names."""
