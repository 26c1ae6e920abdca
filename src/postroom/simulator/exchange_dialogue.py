"""What both sides said, kept with the message that it brought. Secrets are never written down."""

# A dialogue with all 500 recipients fits; a client that only chatters does not grow it further.
MAX_LINES = 2_000


class Dialogue:
    """The opening of the connection, and the latest transaction since its MAIL FROM."""

    def __init__(self) -> None:
        self._opening: list[str] = []
        self._transaction: list[str] = []
        self._current = self._opening

    def begin_transaction(self) -> None:
        self._transaction = self._current = []

    def note_client(self, line: str) -> None:
        """A command; the argument of AUTH beyond its mechanism is a secret."""
        words = line.split(" ", 2)
        if words[0].upper() == "AUTH" and len(words) == 3:
            line = f"{words[0]} {words[1]} {_not_kept(len(words[2]))}"
        self._note(f"C: {line}")

    def note_secret(self, size_bytes: int) -> None:
        """An answer to a challenge of AUTH."""
        self._note(f"C: {_not_kept(size_bytes)}")

    def note_server(self, line: str) -> None:
        self._note(f"S: {line}")

    def note_event(self, event: str) -> None:
        """What happened without a word: TLS, the octets of a message, a broken connection."""
        self._note(f"* {event}")

    def lines(self) -> tuple[str, ...]:
        return (*self._opening, *self._transaction)

    def _note(self, line: str) -> None:
        if len(self._current) < MAX_LINES:
            self._current.append(line)


def _not_kept(size_bytes: int) -> str:
    return f"<{size_bytes} octets, not kept>"
