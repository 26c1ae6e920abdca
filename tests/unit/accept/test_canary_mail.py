"""The canary as a message, judged by the standard library."""

from email import message_from_bytes
from email.policy import default

from postroom.accept.canary_mail import HEADER, compose_canary


def test_it_says_what_it_is_and_answers_no_machine() -> None:
    content = compose_canary(
        sender="scanner@contoso.example",
        sender_name="Büro\r\nBcc: x@y.example",
        recipient="canary@contoso.example",
        instance_name="Postroom\r\nDüsseldorf",
        code_word="K7QF",
        host_name="relay.example",
    )
    assert content.isascii()
    assert content.count(b"\n") == content.count(b"\r\n") == content.count(b"\r")
    message = message_from_bytes(content, policy=default)
    assert message["Subject"] == "Postroom  Düsseldorf: canary K7QF"
    assert (message["Auto-Submitted"], message[HEADER], message["Bcc"]) == ("auto-generated", "K7QF", None)
    assert message["To"] == "canary@contoso.example"
    text = message.get_content()
    for fact in ("K7QF", "relay.example", "Admin > Sending", HEADER):
        assert fact in text
