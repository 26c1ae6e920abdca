"""How the tenant says no."""


class OperationError(Exception):
    """The tenant says no; the message is the sentence for the person who asked."""
