"""Step Test mail: one real message through the one door, followed to where it ends."""

from starlette.responses import Response

from postroom.accept.submission import SubmissionOptions
from postroom.accept.test_mail import compose_test_mail, make_code_word
from postroom.console import words
from postroom.console.forms import Troubles, address_trouble
from postroom.console.language import _
from postroom.console.pages.delivery import failure_cards, timeline_of, way_names
from postroom.console.pages.step import named_server, server_parameter
from postroom.console.visit import Visit
from postroom.errors import Refusal
from postroom.ids import parse_public_id, public_id
from postroom.message import Reception
from postroom.store.records import MailServer, MessageDetail


async def show(visit: Visit) -> Response:
    return await _page(visit, {})


async def send(visit: Visit) -> Response:
    """Hand the test mail in; what refuses it is said here, what happens to it afterwards on the page that follows."""
    mail_server = await named_server(visit, visit.form.text("server"))
    recipient = visit.form.text("to")
    trouble = address_trouble(recipient, "address the test mail goes to")
    if trouble:
        return await _page(visit, {"to": trouble})
    if not mail_server.is_set_up:
        return await _page(visit, {"": _("Set up and save the mail server first.")})
    try:
        message_id = await _hand_in(visit, mail_server, recipient)
    except Refusal as refusal:
        return await _page(visit, {"to": str(refusal)})
    return visit.go("/admin/mail-server/test", message=public_id(message_id), **server_parameter(mail_server))


async def _hand_in(visit: Visit, mail_server: MailServer, recipient: str) -> int:
    """Through the same Submission as everybody's mail."""
    rooms = visit.rooms
    composed = compose_test_mail(
        sender=mail_server.sender,
        sender_name=mail_server.sender_name,
        recipient=recipient,
        instance_name=rooms.settings.instance_name,
        code_word=make_code_word(),
        host_name=rooms.intake.host_name,
        mail_server=f"{mail_server.host}:{mail_server.port}",
        now_us=visit.now_us,
    )
    app = await rooms.store.apps.internal()
    reception = Reception("test mail", login=visit.who)
    options = SubmissionOptions(mail_server_id=mail_server.mail_server_id)
    submission = await rooms.intake.open(
        app, mail_server.sender, reception, is_eight_bit=True, needs_smtputf8=True, options=options
    )
    try:
        await submission.add_recipient(recipient)
        await submission.write(composed)
        return await submission.commit()
    except BaseException:
        await submission.abandon()
        raise


async def _page(visit: Visit, troubles: Troubles) -> Response:
    store = visit.rooms.store
    mail_server = await named_server(visit, visit.form.text("server") or visit.asked("server"))
    mailbox = await store.mailboxes.find(mail_server.mailbox_id)
    detail = await _followed(visit)
    return await visit.page(
        "step_test.html",
        status=422 if troubles else 200,
        mail_server=mail_server,
        server=server_parameter(mail_server).get("server", ""),
        troubles=troubles,
        to=visit.form.text("to") or (detail.recipients[0].address if detail else mail_server.test_address),
        detail=detail,
        status_text=words.status_sentence(detail, mail_server, mailbox.username, visit.now_us) if detail else "",
        lines=timeline_of(detail, way_names(await store.mail_servers.all())) if detail else [],
        cards=failure_cards(detail, mail_server, mailbox) if detail else [],
    )


async def _followed(visit: Visit) -> MessageDetail | None:
    try:
        return await visit.rooms.store.messages.find(parse_public_id(visit.asked("message")))
    except ValueError:
        return None
