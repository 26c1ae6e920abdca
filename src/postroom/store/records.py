"""What the store keeps, as values: the rows that other rooms see."""

from datetime import date
from enum import StrEnum

import msgspec

from postroom.clock import DAY_US
from postroom.message import AfterUnknown, DsnRequest, Lane, MailboxState, Reception, RecipientState
from postroom.outcome import Failure, Outcome, StopCause


class EmailType(StrEnum):
    """The page's *Email Type*."""

    SMTP = "smtp"
    SMTPS = "smtps"
    GRAPH = "graph"


class Authentication(StrEnum):
    OAUTH = "oauth"
    BASIC = "basic"
    NONE = "none"
    """The mail server knows us by our address, or lets everybody in."""


class GrantType(StrEnum):
    """How tokens are got for a mailbox that signs in with OAuth."""

    AUTHORIZATION_CODE = "authorization_code"
    """A person signs in once in a browser that comes back to us (RFC 6749 4.1, with PKCE)."""
    DEVICE_CODE = "device_code"
    """A person enters a code on any device (RFC 8628)."""
    CLIENT_SECRET = "client_secret"  # noqa: S105 - a name
    """The app signs in itself, with a secret (RFC 6749 4.4): nobody's sign-in can end."""
    CLIENT_CERTIFICATE = "client_certificate"
    """The same with a certificate (RFC 7523 2.2)."""

    @property
    def is_app_only(self) -> bool:
        """Without a person, and therefore without a refresh token."""
        return self in (GrantType.CLIENT_SECRET, GrantType.CLIENT_CERTIFICATE)


class Cloud(StrEnum):
    """Which of Microsoft's clouds the tenant lives in; tokens of one are worth nothing in another."""

    WORLDWIDE = "worldwide"
    """GCC included."""
    GCC_HIGH = "gcc_high"
    DOD = "dod"
    CHINA_21VIANET = "china_21vianet"


class SendRight(StrEnum):
    """By which right the username sends as the sender."""

    OWN = "own"
    SEND_ON_BEHALF = "send_on_behalf"
    """The message leaves with `Sender:` the username."""
    SEND_AS = "send_as"


class SignedInUser(msgspec.Struct, frozen=True):
    """Who signed in, pinned by `object_id` and `tenant_id` (oid and tid of the ID token)."""

    object_id: str
    tenant_id: str
    user_principal_name: str
    display_name: str = ""
    mail: str = ""
    addresses: tuple[str, ...] = ()
    """UPN, mail and proxy addresses, lower case."""


class MailServer(msgspec.Struct, frozen=True):
    """A way out."""

    mail_server_id: int
    name: str
    host: str
    port: int
    email_type: EmailType
    use_tls: bool
    sender: str
    sender_name: str
    test_address: str
    send_right: SendRight
    mailbox_id: int
    ehlo_name: str = ""
    verified_at_us: int | None = None
    """When the checks passed; None when it was saved without."""
    proved_at_us: int | None = None
    """When a message from the sender was last accepted after its data: what alone proves the right to send."""
    authorities: str = ""
    """Certificates (PEM) that vouch for it, instead of those of the system."""
    takes_null_sender: bool = False
    """Whether it takes `MAIL FROM:<>`; else notices leave with the mail server's own sender."""
    takes_large_mail: bool = False
    """Whether Graph may be handed mail in pieces, which needs Mail.ReadWrite; else mail up to 3 MB only."""
    is_default: bool = False
    """New mail leaves through it unless a rule says otherwise."""
    alternatives: tuple[int, ...] = ()
    """Mail servers that take its mail while it cannot be sent this way, in order."""
    cause: StopCause | None = None
    """Why this way is stopped, while its mailbox may send by another; None when it is not."""
    until_us: int | None = None
    since_us: int | None = None
    failure: Failure | None = None

    @property
    def is_set_up(self) -> bool:
        return bool(self.host and self.sender)


class Mailbox(msgspec.Struct, frozen=True):
    """What we sign in to in order to send; owns sign-in, pace and the state that stops its mail."""

    mailbox_id: int
    username: str
    address: str
    """Given to the mail server at sign-in; the username, unless it is a shared mailbox."""
    authentication: Authentication
    state: MailboxState
    cause: StopCause | None = None
    until_us: int | None = None
    since_us: int = 0
    failure: Failure | None = None
    user: SignedInUser | None = None
    message_limit_a_minute: int = 25
    connection_limit: int = 2
    recipient_limit_a_day: int = 10_000
    recipient_limit_a_message: int = 500
    learnt_message_limit: int | None = None
    """What the mail server let us find out, below `message_limit_a_minute`; it recovers with time."""
    learnt_connection_limit: int | None = None
    learnt_at_us: int | None = None
    tenant: str | None = None
    """Whose limit on external recipients counts."""


class MailboxLimits(msgspec.Struct, frozen=True):
    """What people set of a mailbox's pace."""

    messages_a_minute: int = 25
    connections: int = 2
    recipients_a_day: int = 10_000
    recipients_a_message: int = 500


class AccessToken(msgspec.Struct, frozen=True):
    """An access token as it is kept, so that everybody who sends for the mailbox shares one."""

    resource: str
    token: str
    got_at_us: int
    expires_at_us: int
    grant_key: str
    """Tells the sign-in that it came from: another one's is not used."""
    fence: int
    """Of the lease under which it came; the greatest is the newest."""

    def __repr__(self) -> str:
        return f"AccessToken(for {self.resource})"


class RenewalLease(msgspec.Struct, frozen=True):
    """Who may ask for new tokens of a mailbox now; nobody else does for a minute."""

    mailbox_id: int
    owner: str
    fence: int
    """Greater than that of any lease before it."""


class Grant(msgspec.Struct, frozen=True):
    """A mailbox's way to sign in, opened: hold it only as long as the request lasts."""

    mailbox_id: int
    authentication: Authentication
    username: str
    address: str
    tenant: str = ""
    client_id: str = ""
    client_secret: str = ""
    password: str = ""
    refresh_token: str = ""
    scopes: tuple[str, ...] = ()
    user: SignedInUser | None = None
    secret_ends_on: date | None = None
    spare_secret: str = ""
    """The client secret of before, while it can be gone back to."""
    spare_secret_ends_on: date | None = None
    spare_secret_until_us: int | None = None
    granted_at_us: int | None = None
    renewed_at_us: int | None = None
    grant_type: GrantType = GrantType.AUTHORIZATION_CODE
    cloud: Cloud = Cloud.WORLDWIDE
    certificate: str = ""
    """PEM, with `private_key`: by which the app proves itself when the grant type says so."""
    private_key: str = ""
    revision: int = 0
    """Of its mailbox: grows when a person says that something was solved."""
    access_tokens: tuple[AccessToken, ...] = ()
    """What whoever renewed last has left for everybody."""

    @property
    def can_ask(self) -> bool:
        """Whether tokens can be asked for: an app by itself always, in a person's name once they have signed in."""
        return self.grant_type.is_app_only or bool(self.refresh_token)

    def __repr__(self) -> str:
        return f"Grant(mailbox {self.mailbox_id}, {self.authentication})"


NEW = 0
"""In place of an id: it is made when the draft is saved."""


class MailServerDraft(msgspec.Struct, frozen=True):
    """The Mail Server page while it is being filled in; sealed as a whole, live only when saved."""

    mail_server_id: int = 1
    """Which one it changes; NEW makes another."""
    mailbox_id: int = NEW
    """Of a new mail server: the mailbox that it shares; NEW makes one of its own."""
    name: str = ""
    host: str = "smtp.office365.com"
    port: int = 587
    email_type: EmailType = EmailType.SMTP
    use_tls: bool = True
    ehlo_name: str = ""
    sender: str = ""
    sender_name: str = ""
    sender_is_own_mailbox: bool = True
    username: str = ""
    mailbox_address: str = ""
    test_address: str = ""
    send_right: SendRight = SendRight.OWN
    send_right_is_granted: bool = False
    """The person says that Send on Behalf or Send As has been granted."""
    authentication: Authentication = Authentication.OAUTH
    tenant: str = ""
    client_id: str = ""
    client_secret: str = ""
    secret_ends_on: date | None = None
    grant_type: GrantType = GrantType.AUTHORIZATION_CODE
    cloud: Cloud = Cloud.WORLDWIDE
    certificate: str = ""
    private_key: str = ""
    password: str = ""
    refresh_token: str = ""
    scopes: tuple[str, ...] = ()
    user: SignedInUser | None = None
    granted_at_us: int | None = None
    authorities: str = ""
    takes_null_sender: bool = False
    takes_large_mail: bool = False
    verified_at_us: int | None = None
    """Set by a verification that passed; any later change of a field clears it."""

    def __repr__(self) -> str:
        return f"MailServerDraft({self.username} at {self.host}:{self.port})"

    def has_same_settings(self, other: "MailServerDraft") -> bool:
        """Whether they differ in nothing that a person did: a field entered, or a sign-in."""
        return self._entered() == other._entered()

    def signs_in_as(self, other: "MailServerDraft") -> bool:
        """Whether the same account signs in to both, for the same app."""
        return self._signs_in() == other._signs_in()

    def with_sign_in_of(self, signed_in: "MailServerDraft") -> "MailServerDraft":
        """With the yield of a sign-in, which takes back the verification."""
        return msgspec.structs.replace(
            self,
            refresh_token=signed_in.refresh_token,
            scopes=signed_in.scopes,
            user=signed_in.user,
            granted_at_us=signed_in.granted_at_us,
            verified_at_us=None,
        )

    def _signs_in(self) -> tuple[object, ...]:
        return self.tenant, self.username, self.authentication, self.client_id

    def _entered(self) -> "MailServerDraft":
        """Without what a verification itself may change: the token is renewed by it, and it notes that it passed."""
        return msgspec.structs.replace(self, refresh_token="", scopes=(), verified_at_us=None)


class SenderPolicy(StrEnum):
    """What becomes of a sender that the app's list does not allow."""

    REFUSE = "refuse"
    REWRITE = "rewrite"
    """The mail server's sender takes its place; replies go to the old one, which stays in `X-Original-From`."""
    KEEP = "keep"
    """It stays, and Microsoft decides: for programs that may speak for anybody."""


class AppSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a person decides about an app."""

    name: str
    kind: str = ""
    owner: str = ""
    """Whom to ask about it."""
    senders: tuple[str, ...] = ()
    """Addresses it may send from, or `@example.com` for all of a domain; empty means the mail server's only."""
    sender_policy: SenderPolicy = SenderPolicy.REFUSE
    recipient_domains: tuple[str, ...] = ()
    """Where it may send to; empty means everywhere."""
    message_limit_a_minute: int | None = None
    message_limit_a_day: int | None = None
    """In any 24 hours."""
    size_limit_bytes: int | None = None
    """Smaller than the listener's; None means the listener's."""
    addresses: tuple[str, ...] = ()
    """Networks such as 10.2.3.14/32 that it connects from; empty means anywhere."""
    needs_sign_in: bool = True
    """When not, its address alone says who it is: on the device listener only, and never without `addresses`."""
    local_users: tuple[str, ...] = ()
    """Users of this machine whose `sendmail` it is."""
    fixes_lines: bool = False
    """Bare line feeds, NUL and over-long lines are put right, not refused."""
    allows_plain_text: bool = False
    """No TLS asked of its addresses, on the device listener."""
    allows_old_tls: bool = False
    """TLS 1.0 and 1.1 for its addresses, on the device listener."""
    allows_cram_md5: bool = False
    """CRAM-MD5 for its addresses; its password is then kept sealed, not hashed."""
    after_unknown: AfterUnknown = AfterUnknown.SEND_AGAIN
    notices_to: str = ""
    """Who is told when its mail fails: `sender`, `administrator`, `nobody`; empty: by its kind."""

    @property
    def is_legacy(self) -> bool:
        """Whether anything is allowed that a person should be reminded of."""
        return self.allows_plain_text or self.allows_old_tls or self.allows_cram_md5


class App(AppSettings, frozen=True, kw_only=True):
    """A program or device that may hand us mail."""

    app_id: int
    login: str
    is_enabled: bool = True
    is_internal: bool = False
    """Our own: the test mail. Cannot sign in, is not listed."""
    created_at_us: int = 0
    last_used_at_us: int | None = None
    last_used_from: str | None = None
    last_used_tls: str | None = None
    last_used_mechanism: str | None = None


class AppPassword(msgspec.Struct, frozen=True):
    """One of the at most two passwords with which an app signs in, without the password."""

    credential_id: int
    app_id: int
    chosen_by_a_person: bool
    """Kept from before, not made by a machine: weaker, to be renewed some day."""
    created_at_us: int
    last_used_at_us: int | None = None


class ApiKey(msgspec.Struct, frozen=True):
    """A key for the HTTP API, without the key."""

    api_key_id: int
    app_id: int
    name: str
    shown_start: str
    """Its first letters, by which people tell keys apart."""
    scopes: tuple[str, ...]
    created_at_us: int
    expires_at_us: int | None = None
    last_used_at_us: int | None = None
    last_used_from: str | None = None


class RefusedAttempt(msgspec.Struct, frozen=True):
    """A client that was turned away, as the listener saw it."""

    address: str
    listener: str
    helo: str
    login: str
    """The user name that it tried; empty when it tried none."""
    code: str
    """The refusal's code, such as `unknown_device`."""
    text: str
    at_us: int
    attempts: int = 1
    """How many times lately; told once, as the last time was."""


class RefusedClient(msgspec.Struct, frozen=True):
    """What is known of an address that was turned away lately."""

    address: str
    listener: str
    helo: str
    login: str
    code: str
    text: str
    attempts: int
    first_at_us: int
    last_at_us: int


class RefusedSender(msgspec.Struct, frozen=True):
    """A sender whose mail a mail server refused lately; the next message is tried all the same."""

    sender: str
    mail_server_id: int
    mail_server_name: str
    failure: Failure
    refused_at_us: int


class Person(msgspec.Struct, frozen=True):
    """Who may use the console."""

    person_id: int
    name: str
    email: str
    created_at_us: int


class Session(msgspec.Struct, frozen=True):
    session_id: int
    person: Person
    csrf_token: str
    expires_at_us: int


class StoredBody(msgspec.Struct, frozen=True):
    """Where a message's bytes are: in the database up to 64 KiB, in a synced file beyond."""

    size_bytes: int
    content: bytes | None = None
    file_name: str | None = None


class NewMessage(msgspec.Struct, frozen=True):
    """A complete submission, ready to be kept."""

    message_id: int
    app_id: int
    envelope_sender: str
    recipients: tuple[str, ...]
    header_from: str
    subject: str
    internet_message_id: str
    """The `Message-ID` header, with its angle brackets."""
    body: StoredBody
    reception: Reception
    received_at_us: int
    repairs: tuple[str, ...] = ()
    """What we changed, one sentence each."""
    lane: Lane = Lane.NORMAL
    is_eight_bit: bool = False
    needs_smtputf8: bool = False
    send_at_us: int | None = None
    """Not before; None means at once."""
    expires_at_us: int | None = None
    """Not after: an expiry that the sender set, in wall time."""
    tags: tuple[str, ...] = ()
    metadata: dict[str, str] = {}
    dsn: DsnRequest | None = None
    idempotency: "IdempotencyKey | None" = None
    lifetime_us: int | None = None
    """How long it may wait while it could be sent; None: as for all."""
    names_only_recipients: bool = False
    """All addresses of its To and Cc are in the envelope: what a way out without an envelope needs."""
    is_notice: bool = False
    """A report about another message: about it no report is made."""
    mail_server_id: int | None = None
    """By which it goes, whatever the rules say: a test mail proves its own way."""
    is_canary: bool = False
    """Our own proof that mail leaves: about it no report is made either."""


class IdempotencyKey(msgspec.Struct, frozen=True):
    """By which a request that is repeated is known again: kept in the transaction that keeps its message."""

    key: str
    request_hash: bytes
    """SHA-256 of what was asked; another request under the same key is refused."""
    item: int = 0
    """Which message of a batch."""


class OpenRecipient(msgspec.Struct, frozen=True):
    recipient_id: int
    address: str


class Lease(msgspec.Struct, frozen=True):
    """A delivery claimed for one attempt; the attempt is already on the disk when this is handed out."""

    delivery_id: int
    message_id: int
    attempt_id: int
    attempt_number: int
    owner: str
    expires_at_us: int
    mail_server: MailServer
    mailbox: Mailbox
    envelope_sender: str
    recipients: tuple[OpenRecipient, ...]
    header_from: str
    body: StoredBody
    is_eight_bit: bool
    needs_smtputf8: bool
    after_unknown: AfterUnknown
    dsn: DsnRequest | None
    message_expires_at_us: int | None
    """The expiry that the sender set, in wall time."""
    age_us: int
    """How long the message has waited while its mailbox could send: what its lifetime is measured by."""
    lifetime_us: int = 5 * DAY_US
    """How old it may become."""
    is_notice: bool = False


class DialogueLine(msgspec.Struct, frozen=True):
    """One line of a conversation with a mail server, secrets taken out."""

    offset_ms: int
    who: str
    """`C` (we), `S` (the server), or `-` (a remark, such as the TLS version)."""
    text: str


class Settlement(msgspec.Struct, frozen=True):
    """What an attempt came to, per recipient id; every `TryLater` has its time."""

    outcomes: dict[int, Outcome]
    dialogue: tuple[DialogueLine, ...] = ()
    server: str = ""


class MessageRow(msgspec.Struct, frozen=True):
    """A line of the list of deliveries."""

    message_id: int
    received_at_us: int
    state: RecipientState
    is_partly_failed: bool
    app_name: str
    header_from: str
    recipients: tuple[str, ...]
    """The first three."""
    recipient_count: int
    subject: str
    size_bytes: int
    attempts: int
    finished_at_us: int | None
    waits_for: str | None
    """`pace`, `paused`, or the cause for which its mailbox is stopped."""


class RecipientRow(msgspec.Struct, frozen=True):
    address: str
    state: RecipientState
    changed_at_us: int
    next_attempt_at_us: int | None
    failure: Failure | None
    reply: str | None


class AttemptRow(msgspec.Struct, frozen=True):
    attempt_id: int
    number: int
    mail_server_id: int
    """The way it went; that mail server may have been removed since."""
    started_at_us: int
    ended_at_us: int | None
    server: str
    outcomes: tuple[tuple[str, Outcome], ...]
    """Recipient address and what it came to; empty while the attempt is open."""
    dialogue: tuple[DialogueLine, ...]


class TimelineEntry(msgspec.Struct, frozen=True):
    """What happened to a message, besides its attempts."""

    at_us: int
    kind: str
    """received, repaired, stored, held, released, retried, cancelled, pruned."""
    text: str
    who: str = ""


class MessageDetail(msgspec.Struct, frozen=True):
    row: MessageRow
    app: App
    envelope_sender: str
    internet_message_id: str
    reception: Reception
    repairs: tuple[str, ...]
    recipients: tuple[RecipientRow, ...]
    attempts: tuple[AttemptRow, ...]
    timeline: tuple[TimelineEntry, ...]
    body: StoredBody | None
    """None when the content was pruned."""
    lane: Lane = Lane.NORMAL
    send_at_us: int | None = None
    expires_at_us: int | None = None
    tags: tuple[str, ...] = ()
    metadata: dict[str, str] = {}
    dsn: DsnRequest | None = None
    out_at_us: int | None = None
    """When it will leave, if it is due and nobody has to do anything first."""


class OpenMessage(msgspec.Struct, frozen=True):
    """A message that waits, as the list of the outbox shows it."""

    message_id: int
    state: RecipientState
    size_bytes: int
    received_at_us: int
    envelope_sender: str
    recipients: tuple[RecipientRow, ...]
    """Those that have not ended."""
    waits_for: str | None = None
    """As in MessageRow."""


class AppFigures(msgspec.Struct, frozen=True):
    """How much an app sent since the time asked for."""

    messages: int
    failed: int


SCOPES = (
    "send", "messages:read", "messages:write", "content:read", "settings:read", "settings:write", "credentials:write",
    "audit:read", "metrics:read",
)  # fmt: skip
"""What a key of the HTTP API may be allowed to do."""


class AuditEntry(msgspec.Struct, frozen=True):
    at_us: int
    who: str
    from_address: str
    action: str
    target: str
    before: str = ""
    after: str = ""


class Forecast(msgspec.Struct, frozen=True):
    """Of all that is due and may leave without a person."""

    messages: int
    out_at_us: int | None
    """None when nothing is due."""
    without_time: dict[str, int]
    """Messages of which nobody can say when they leave, by what they wait for, as in `Overview.waiting_by_cause`."""


class Overview(msgspec.Struct, frozen=True):
    """How sending goes, counted in recipients."""

    sent: int
    """Since the time asked for, to the quarter of an hour."""
    waiting: int
    """Not ended yet, now."""
    failed: int
    """Since the time asked for."""
    unknown: int
    """Attempts since then of which nobody knows whether they arrived: at most so many duplicates."""
    oldest_waiting_received_at_us: int | None
    forecast: Forecast
    """When what is due will be out."""
    waiting_by_cause: dict[str, int]
    """Recipients that wait, by what for: a mailbox's cause, `pace`, `lane` (their turn), `a later try`, `release`."""
