"""The dialogue of AUTH: LOGIN in two questions, XOAUTH2 in one line or two (microsoft365.md 1.2, 1.3)."""

import logging
from collections.abc import Callable
from functools import partial

from postroom.simulator import exchange_replies as replies
from postroom.simulator.exchange_connection import Connection, Reader
from postroom.simulator.exchange_sign_in import Admission, SignInRefused, sign_in_with_password, sign_in_with_token
from postroom.simulator.tenant import Tenant
from postroom.simulator.tokens import Tokens

log = logging.getLogger("postroom.simulator.exchange")


class SaslDialogue:
    """One connection's signing in. `admission` is None until it has succeeded; `refusal` is the last one."""

    def __init__(
        self,
        connection: Connection,
        tenant: Tenant,
        tokens: Tokens,
        *,
        read_command: Reader,
        admit: Callable[[Admission], None],
    ) -> None:
        self.admission: Admission | None = None
        self.refusal = ""
        self._connection = connection
        self._tenant = tenant
        self._tokens = tokens
        self._read_command = read_command
        self._admit = admit

    def begin(self, mechanism: str, initial: str) -> None:
        """AUTH with a mechanism that is offered, LOGIN or XOAUTH2."""
        if mechanism == "XOAUTH2":
            self._start(initial, replies.ASK_TOKEN, self._take_token)
        else:
            self._start(initial, replies.ASK_USERNAME, self._take_username)

    def _start(self, initial: str, challenge: str, take: Callable[[bytes], None]) -> None:
        if initial:
            # "=" is an initial response of no length (RFC 4954 4).
            take(b"" if initial == "=" else initial.encode())
        else:
            self._ask(challenge, take)

    def _ask(self, challenge: str, take: Callable[[bytes], None]) -> None:
        self._connection.reader = partial(self._read_answer, take)
        self._connection.say(challenge)

    def _read_answer(self, take: Callable[[bytes], None]) -> bool:
        line = self._connection.take_line()
        if line is None:
            return False
        self._connection.reader = self._read_command
        if line == b"*":
            self._connection.dialogue.note_client("*")
            self._connection.refuse(replies.AUTH_CANCELLED)
        else:
            self._connection.dialogue.note_secret(len(line))
            take(line)
        return True

    def _take_token(self, answer: bytes) -> None:
        self._conclude(sign_in_with_token(self._tenant, self._tokens, answer))

    def _take_username(self, answer: bytes) -> None:
        self._ask(replies.ASK_PASSWORD, partial(self._take_password, answer))

    def _take_password(self, username: bytes, answer: bytes) -> None:
        self._conclude(sign_in_with_password(self._tenant, username, answer))

    def _conclude(self, result: Admission | SignInRefused) -> None:
        if isinstance(result, SignInRefused):
            log.info("sign-in refused: %s", result.reason)
            self._connection.dialogue.note_event(f"refused because {result.reason}")
            self.refusal = result.reply
            self._connection.refuse(result.reply)
            return
        self.admission = result
        self._admit(result)
        self._connection.say(replies.AUTHENTICATED)
