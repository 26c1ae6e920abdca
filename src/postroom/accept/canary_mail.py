"""The canary as a message: composed, and handed in through the same door as everybody's mail."""

from postroom import __version__
from postroom.accept.composer import compose_message
from postroom.accept.message_fields import MessageFields, NamedAddress
from postroom.accept.submission import Intake, SubmissionOptions
from postroom.accept.test_mail import make_code_word, one_line
from postroom.message import Lane, Reception
from postroom.store.records import MailServer

HEADER = "X-Postroom-Canary"
"""By which a rule of the mailbox puts them aside; its value is the code word."""

_WHAT_IT_IS = """\
This is a canary: a message that {instance_name} (Postroom {version}) sends to itself at intervals. It has arrived, so
mail that apps and devices hand in can be sent.

Code word:  {code_word}
On:         {host_name}

Nothing is to be done. Whoever runs Postroom can change or stop them under Admin > Sending. A rule of your mailbox can
put them aside by their header {header}.
"""


def compose_canary(
    *, sender: str, sender_name: str, recipient: str, instance_name: str, code_word: str, host_name: str
) -> bytes:
    """Plain text, as short as mail gets; Message-ID and Date are the submission's to add."""
    name = one_line(instance_name)
    fields = MessageFields(
        sender=NamedAddress(sender, one_line(sender_name)),
        to=(NamedAddress(recipient),),
        subject=f"{name}: canary {code_word}",
        text=_WHAT_IT_IS.format(
            instance_name=name, version=__version__, code_word=code_word, host_name=host_name, header=HEADER
        ),
        # RFC 3834: nobody answers it with an absence notice.
        headers=(("Auto-Submitted", "auto-generated"), (HEADER, code_word)),
    )
    return b"".join(compose_message(fields))


async def hand_in_canary(intake: Intake, instance_name: str, recipient: str, expires_at_us: int) -> int:
    """The message's id, once it is on the disk. Errors: Refusal, StoreUnavailableError."""
    mail_server = await intake.store.mail_servers.default()
    content = _compose(intake, mail_server, instance_name, recipient)
    options = SubmissionOptions(lane=Lane.NORMAL, expires_at_us=expires_at_us, is_canary=True)
    app = await intake.store.apps.internal()
    reception = Reception("canary")
    submission = await intake.open(app, mail_server.sender, reception, needs_smtputf8=True, options=options)
    try:
        await submission.add_recipient(recipient)
        await submission.write(content)
        return await submission.commit()
    finally:
        await submission.abandon()


def _compose(intake: Intake, mail_server: MailServer, instance_name: str, recipient: str) -> bytes:
    return compose_canary(
        sender=mail_server.sender,
        sender_name=mail_server.sender_name,
        recipient=recipient,
        instance_name=instance_name,
        code_word=make_code_word(),
        host_name=intake.host_name,
    )
