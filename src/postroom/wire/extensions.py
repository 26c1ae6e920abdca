"""What a server offers: the answer to EHLO (RFC 5321 4.1.1.1)."""

from collections.abc import Mapping

import msgspec

from postroom.wire.replies import Reply


class Extensions(msgspec.Struct, frozen=True):
    """Keywords in capitals with their parameters, and what we read from them."""

    keywords: Mapping[str, str]

    @property
    def offers_starttls(self) -> bool:
        return "STARTTLS" in self.keywords

    @property
    def offers_pipelining(self) -> bool:
        return "PIPELINING" in self.keywords

    @property
    def offers_chunking(self) -> bool:
        """BDAT (RFC 3030)."""
        return "CHUNKING" in self.keywords

    @property
    def offers_eight_bit(self) -> bool:
        return "8BITMIME" in self.keywords

    @property
    def offers_smtputf8(self) -> bool:
        return "SMTPUTF8" in self.keywords

    @property
    def offers_dsn(self) -> bool:
        return "DSN" in self.keywords

    @property
    def offers_size(self) -> bool:
        return "SIZE" in self.keywords

    @property
    def size_limit_bytes(self) -> int:
        """The largest message the server says it takes (RFC 1870); 0 when it names no limit."""
        limit = self.keywords.get("SIZE", "")
        return int(limit) if limit.isascii() and limit.isdigit() and len(limit) < 19 else 0

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """The ways to sign in, in the server's order and in capitals."""
        return tuple(self.keywords.get("AUTH", "").upper().split())


NO_EXTENSIONS = Extensions({})


def read_extensions(reply: Reply) -> Extensions:
    """The extensions in a positive answer to EHLO; its first line is the greeting."""
    keywords: dict[str, str] = {}
    for line in reply.lines[1:]:
        keyword, _, parameters = line.partition(" ")
        if keyword.upper().startswith("AUTH="):  # as old servers write it, beside or in place of `AUTH LOGIN`
            keyword, parameters = "AUTH", f"{keyword[5:]} {parameters}"
        name = keyword.upper()
        keywords[name] = f"{keywords[name]} {parameters}".strip() if name in keywords else parameters.strip()
    return Extensions(keywords)
