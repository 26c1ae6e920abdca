"""Which addresses each app may send as, as the store says now."""

from collections.abc import Callable
from contextlib import suppress

from postroom.accept import policy, refusals
from postroom.clock import MICROSECONDS, Clock
from postroom.errors import Refusal
from postroom.store import Store
from postroom.store.records import App

TRUSTED_US = MICROSECONDS
"""Reading costs more than all else about a small message, so what was read is trusted for a second."""

_APPS_REMEMBERED = 1_000


class SenderBook:
    """Asked for each message: a change in the console holds for connections that are open, too."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._known: dict[int, tuple[int, policy.SenderRules]] = {}

    async def hold(self, app: App, check: Callable[[policy.SenderRules], None]) -> None:
        """Run `check` on the app's rules. What it refuses by rules that were remembered is checked by fresh ones."""
        read_at_us, rules = self._known.get(app.app_id, (0, None))
        if rules is not None and 0 <= self._clock.now_us() - read_at_us < TRUSTED_US:
            with suppress(Refusal):
                check(rules)
                return
        check(await self._read(app))

    async def _read(self, app: App) -> policy.SenderRules:
        self._known.pop(app.app_id, None)
        app = await self._store.apps.find(app.app_id) or app
        if not app.is_enabled:
            raise refusals.app_switched_off(app.name)
        mail_server = await self._store.mail_servers.default()
        mailbox = await self._store.mailboxes.find(mail_server.mailbox_id)
        rules = policy.sender_rules(app, mail_server, mailbox)
        if len(self._known) >= _APPS_REMEMBERED:
            self._known.clear()
        self._known[app.app_id] = (self._clock.now_us(), rules)
        return rules
