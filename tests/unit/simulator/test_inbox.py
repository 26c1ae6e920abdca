import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from postroom.simulator import inbox, message_reading
from postroom.simulator.tenant import ReceivedMessage, Tenant

SCAN = (
    b"From: =?utf-8?q?J=C3=B6rg?= <scanner@contoso.com>\r\n"
    b"To: <anna@example.net>\r\n"
    b"Subject: =?utf-8?q?Seite_=E2=82=AC?= <b>bold</b>\r\n"
    b"MIME-Version: 1.0\r\n"
    b'Content-Type: multipart/mixed; boundary="b"\r\n'
    b"\r\n"
    b"--b\r\n"
    b"Content-Type: text/plain; charset=iso-8859-1\r\n"
    b"\r\n"
    b"Gr\xfc\xdfe <script>alert(1)</script>\r\n"
    b"--b\r\n"
    b"Content-Type: application/pdf\r\n"
    b'Content-Disposition: attachment; filename="scan.pdf"\r\n'
    b"Content-Transfer-Encoding: base64\r\n"
    b"\r\n"
    b"JVBERi0x\r\n"
    b"--b--\r\n"
)


@pytest.fixture
def browser(tenant: Tenant) -> TestClient:
    return TestClient(Starlette(routes=inbox.routes(tenant)))


def receive(tenant: Tenant, content: bytes = SCAN) -> ReceivedMessage:
    message = ReceivedMessage(
        number=len(tenant.messages) + 1,
        received_at=tenant.clock.now(),
        signed_in_as="scanner@contoso.com",
        envelope_sender="scanner@contoso.com",
        recipients=("anna@example.net", "b@example.net", "c@example.net", "d@example.net"),
        content=content,
        dialogue=("S: 220 ready", "C: MAIL FROM:<scanner@contoso.com>"),
        helo="client.example",
        tls_version="TLSv1.3",
    )
    tenant.messages.append(message)
    return message


def test_an_empty_inbox_says_what_would_be_there(browser: TestClient) -> None:
    page = browser.get("/inbox")

    assert page.status_code == 200
    assert "No message has arrived yet." in page.text
    assert "nothing leaves this machine" in page.text


def test_the_list_shows_the_newest_first_with_decoded_names(browser: TestClient, tenant: Tenant) -> None:
    receive(tenant)
    receive(tenant, b"From: scanner@contoso.com\r\n\r\nno subject\r\n")

    page = browser.get("/inbox").text

    assert page.index('href="/inbox/2"') < page.index('href="/inbox/1"')
    assert "Jörg &lt;scanner@contoso.com&gt;" in page
    assert "Seite € &lt;b&gt;bold&lt;/b&gt;" in page
    assert "(no subject)" in page
    assert "anna@example.net, b@example.net, c@example.net and 1 more" in page


def test_the_list_is_cut_and_says_so(browser: TestClient, tenant: Tenant) -> None:
    for _ in range(inbox.SHOWN_MESSAGES + 1):
        receive(tenant)

    page = browser.get("/inbox").text

    assert "The newest 200 of 201 messages" in page
    assert 'href="/inbox/2"' in page
    assert 'href="/inbox/1"' not in page


def test_a_message_is_shown_as_text_with_its_attachments_and_its_dialogue(browser: TestClient, tenant: Tenant) -> None:
    receive(tenant)

    page = browser.get("/inbox/1")

    assert "Grüße &lt;script&gt;alert(1)&lt;/script&gt;" in page.text
    assert "<td>scan.pdf</td><td>application/pdf</td><td>6 Bytes</td>" in page.text
    assert "Subject: =?utf-8?q?Seite_=E2=82=AC?=" in page.text
    assert "S: 220 ready\nC: MAIL FROM:&lt;scanner@contoso.com&gt;" in page.text
    assert "client.example, TLSv1.3" in page.text
    assert page.headers["content-security-policy"].startswith("default-src 'none'; style-src 'self';")


def test_the_source_is_the_octets_that_came_and_can_do_nothing(browser: TestClient, tenant: Tenant) -> None:
    receive(tenant, b"From: a@b.test\r\nContent-Type: text/html\r\n\r\n<script>alert(1)</script>\r\n")

    source = browser.get("/inbox/1/source")

    assert source.content == tenant.messages[0].content
    assert source.headers["content-type"] == "text/plain; charset=utf-8"
    assert source.headers["x-content-type-options"] == "nosniff"
    assert source.headers["content-security-policy"] == "default-src 'none'; sandbox"


@pytest.mark.parametrize("path", ["/inbox/7", "/inbox/7/source"])
def test_a_message_that_is_not_there_is_said_to_be_missing(browser: TestClient, path: str) -> None:
    page = browser.get(path)

    assert page.status_code == 404
    assert "There is no message 7." in page.text


def test_html_alone_is_shown_as_its_source() -> None:
    reading = message_reading.read_message(b"From: a@b.test\r\nContent-Type: text/html\r\n\r\n<p>Hello</p>\r\n")

    assert reading.text == "<p>Hello</p>\r\n"
    assert reading.note == "There is no plain text in this message; this is the source of its HTML."


def test_a_long_text_is_cut_and_says_so() -> None:
    reading = message_reading.read_message(b"From: a@b.test\r\n\r\n" + b"x" * (message_reading.SHOWN_CHARACTERS + 1))

    assert len(reading.text) == message_reading.SHOWN_CHARACTERS
    assert reading.note == "Only its beginning is shown."


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no header at all",
        b"From: a@b.test\r\nContent-Type: multipart/mixed\r\n\r\nno boundary\r\n",
        b"From: a@b.test\r\nContent-Type: text/plain; charset=nonsense\r\n\r\nh\xe9\r\n",
        b'From: a@b.test\r\nContent-Type: text/plain; charset="a\x00b"\r\n\r\nh\xe9\r\n',
        b'From: a@b.test\r\nContent-Type: text/plain; name*0="a"; name*="b"\r\n\r\nx\r\n',
        b"From: a@b.test\r\nContent-Disposition: =?x?\r\n\r\nx\r\n",
        b"From: a@b.test\r\nContent-Transfer-Encoding: base64\r\n\r\n!!!\r\n",
        b"From: =?nonsense?q?x?=\r\nSubject: =?utf-8?b?!?=\r\n\r\n",
        b"From: a@b.test\r\nContent-Type: ;;=\r\nContent-Disposition: \xff; filename*=x''%\r\n\r\nx",
    ],
)
def test_broken_mail_is_shown_as_far_as_it_goes(browser: TestClient, tenant: Tenant, content: bytes) -> None:
    receive(tenant, content)

    assert browser.get("/inbox").status_code == 200
    assert browser.get("/inbox/1").status_code == 200


def test_an_enclosed_message_is_read_through() -> None:
    enclosed = (
        b'From: a@b.test\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n'
        b"Content-Type: message/rfc822\r\n\r\nFrom: c@d.test\r\nContent-Type: image/png\r\n\r\npicture\r\n--b--\r\n"
    )

    (attachment,) = message_reading.read_message(enclosed).attachments

    assert attachment.content_type == "image/png"
    assert attachment.name == "(without a name)"


# One mailbox


def submit(tenant: Tenant, sender: str, *recipients: str, content: bytes = SCAN) -> ReceivedMessage:
    """As Exchange does with a message that it accepts."""
    mailbox = tenant.user_by_address(sender)
    assert mailbox is not None
    message = ReceivedMessage(
        number=len(tenant.messages) + 1,
        received_at=tenant.clock.now(),
        signed_in_as=sender,
        envelope_sender=sender,
        recipients=recipients,
        content=content,
        mailbox_id=mailbox.object_id,
        delivered_at=tenant.exchange.submissions.delivery_time(mailbox.object_id),
    )
    tenant.exchange.submissions.keep(mailbox, message)
    return message


def mailbox_page(browser: TestClient, tenant: Tenant, address: str) -> tuple[str, str]:
    """The two lists of a mailbox's page, Inbox and Sent Items."""
    user = tenant.user_by_address(address)
    assert user is not None
    page = browser.get(f"/inbox/of/{user.object_id}")
    assert page.status_code == 200
    received, _, sent = page.text.partition("<h2>Sent Items</h2>")
    return received.partition("<h2>Inbox</h2>")[2], sent


def test_a_mailbox_has_what_arrived_for_it_by_any_of_its_addresses(browser: TestClient, tenant: Tenant) -> None:
    anna = tenant.user_by_address("anna@contoso.com")
    assert anna is not None
    tenant.exchange.set_alias(anna.object_id, "boss@contoso.com")
    submit(tenant, "scanner@contoso.com", "b@example.net", "Boss@Contoso.com")
    submit(tenant, "scanner@contoso.com", "b@example.net")

    received, sent = mailbox_page(browser, tenant, "anna@contoso.com")

    assert 'href="/inbox/1"' in received
    assert 'href="/inbox/2"' not in received
    assert "Sent Items is empty." in sent


def test_a_mailbox_keeps_what_it_sent(browser: TestClient, tenant: Tenant) -> None:
    submit(tenant, "scanner@contoso.com", "b@example.net")

    received, sent = mailbox_page(browser, tenant, "scanner@contoso.com")

    assert "Nothing has arrived for this mailbox." in received
    assert 'href="/inbox/1"' in sent


def test_a_message_that_is_held_back_says_until_when_and_arrives_then(browser: TestClient, tenant: Tenant) -> None:
    scanner = tenant.user_by_address("scanner@contoso.com")
    assert scanner is not None
    tenant.exchange.set_limits(scanner.object_id, messages_per_minute=1)
    submit(tenant, "scanner@contoso.com", "noreply@contoso.com")
    submit(tenant, "scanner@contoso.com", "anna@contoso.com")

    assert "held back until" in browser.get("/inbox/2").text
    assert "Nothing has arrived" in mailbox_page(browser, tenant, "anna@contoso.com")[0]

    tenant.clock.advance(61)
    assert 'href="/inbox/2"' in mailbox_page(browser, tenant, "anna@contoso.com")[0]
    assert "held back" not in browser.get("/inbox/2").text


def test_who_has_no_mailbox_has_no_page(browser: TestClient, tenant: Tenant) -> None:
    guest = tenant.add_user("guest@contoso.com", is_mailbox=False)

    for object_id in (guest.object_id, "nobody"):
        page = browser.get(f"/inbox/of/{object_id}")
        assert page.status_code == 404
        assert "There is no such mailbox." in page.text


HTML = (
    b"From: a@b.test\r\nContent-Type: text/html; charset=iso-8859-1\r\n\r\n"
    b"<p>Gr\xfc\xdfe</p><script>alert(1)</script><img src=https://tracker.example/>\r\n"
)


def test_html_is_a_document_of_its_own_that_can_load_and_run_nothing(browser: TestClient, tenant: Tenant) -> None:
    receive(tenant, HTML)

    assert 'href="/inbox/1/html"' in browser.get("/inbox/1").text
    page = browser.get("/inbox/1/html")

    assert "<p>Grüße</p>" in page.text
    policy = page.headers["content-security-policy"].split("; ")
    assert {"default-src 'none'", "form-action 'none'", "frame-ancestors 'none'", "sandbox"} <= set(policy)
    assert not any(rule.startswith(("script-src", "frame-src", "connect-src")) for rule in policy)
    assert "https:" not in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"


def test_a_message_without_html_offers_none(browser: TestClient, tenant: Tenant) -> None:
    receive(tenant)

    assert "/inbox/1/html" not in browser.get("/inbox/1").text
    assert browser.get("/inbox/1/html").text == ""
