"""Lines put right as they pass by."""


class LineFixer:
    """Takes a message's bytes as they came; gives lines that end with CR LF."""

    def feed(self, chunk: bytes) -> bytes:
        return chunk

    def finish(self) -> bytes:
        return b""

    def forbid(self, why: str) -> None:
        """From now on nothing is changed."""

    def describe_fixes(self) -> tuple[str, ...]:
        return ()
