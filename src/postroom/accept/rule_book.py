"""What each app may do, as the store says now."""

from collections.abc import Callable
from typing import TypeVar

from postroom.accept import policy, refusals
from postroom.clock import MICROSECONDS, Clock
from postroom.errors import Refusal
from postroom.store import Store
from postroom.store.records import App

TRUSTED_US = MICROSECONDS
"""Reading costs more than all else about a small message, so what was read is trusted for a second."""

_APPS_REMEMBERED = 1_000

T = TypeVar("T")


class RuleBook:
    """Asked for each message: a change in the console holds for connections that are open, too."""

    def __init__(self, store: Store, clock: Clock, default_domain: str = "") -> None:
        self._store = store
        self._clock = clock
        self._default_domain = default_domain
        self._known: dict[int, tuple[int, policy.AppRules]] = {}

    async def decide(self, app: App, decision: Callable[[policy.AppRules], T]) -> T:
        """What `decision` says by the app's rules. What it refuses by remembered rules is decided by fresh ones."""
        rules = self._remembered(app)
        if rules is not None:
            try:
                return decision(rules)
            except Refusal:
                pass
        return decision(await self._read(app))

    async def rules_of(self, app: App) -> policy.AppRules:
        """Refusal when it is switched off, or no mail server is set up."""
        return self._remembered(app) or await self._read(app)

    def _remembered(self, app: App) -> policy.AppRules | None:
        read_at_us, rules = self._known.get(app.app_id, (0, None))
        return rules if 0 <= self._clock.now_us() - read_at_us < TRUSTED_US else None

    async def _read(self, app: App) -> policy.AppRules:
        self._known.pop(app.app_id, None)
        app = await self._store.apps.find(app.app_id) or app
        if not app.is_enabled:
            raise refusals.app_switched_off(app.name)
        mail_server = await self._store.mail_servers.default()
        mailbox = await self._store.mailboxes.find(mail_server.mailbox_id)
        rules = policy.app_rules(app, mail_server, mailbox, self._default_domain)
        if len(self._known) >= _APPS_REMEMBERED:
            self._known.clear()
        self._known[app.app_id] = (self._clock.now_us(), rules)
        return rules
