from postroom.deliver.dialogue import FIRST_LINES, HIDDEN, LAST_LINES, MAX_LETTERS, Dialogue
from postroom.store.records import DialogueLine


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_each_line_has_its_distance_in_milliseconds() -> None:
    time = Time()
    dialogue = Dialogue(time)
    dialogue.we_say("EHLO x")
    time.now += 0.0456
    dialogue.they_say("250 x")
    dialogue.remark("TLSv1.3")
    assert dialogue.lines == (
        DialogueLine(0, "C", "EHLO x"),
        DialogueLine(46, "S", "250 x"),
        DialogueLine(46, "-", "TLSv1.3"),
    )


def test_a_new_message_begins_a_new_dialogue() -> None:
    time = Time()
    dialogue = Dialogue(time)
    dialogue.we_say("EHLO x")
    time.now += 60
    dialogue.begin()
    dialogue.we_say("MAIL")
    assert dialogue.lines == (DialogueLine(0, "C", "MAIL"),)


def test_a_long_conversation_keeps_its_beginning_and_its_end() -> None:
    dialogue = Dialogue(Time())
    for number in range(1000):
        dialogue.they_say(f"250 {number}")
    lines = dialogue.lines
    assert len(lines) == FIRST_LINES + 1 + LAST_LINES
    assert lines[0].text == "250 0"
    assert lines[FIRST_LINES].text == f"{1000 - FIRST_LINES - LAST_LINES} lines left out"
    assert lines[-1].text == "250 999"


def test_nothing_is_left_out_of_a_conversation_that_just_fits() -> None:
    dialogue = Dialogue(Time())
    for number in range(FIRST_LINES + LAST_LINES):
        dialogue.they_say(str(number))
    assert [line.text for line in dialogue.lines] == [str(number) for number in range(FIRST_LINES + LAST_LINES)]


def test_a_long_line_is_cut() -> None:
    dialogue = Dialogue(Time())
    dialogue.they_say("x" * 10_000)
    assert len(dialogue.lines[0].text) == MAX_LETTERS


def test_a_secret_that_a_server_repeats_is_hidden_whole_and_in_pieces() -> None:
    dialogue = Dialogue(Time())
    token = "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJodHRwcyJ9.c2lnbmF0dXJl"
    dialogue.hide((token,))
    dialogue.they_say(f"535 5.7.3 you said {token} to me")
    dialogue.they_say(f"535 5.7.3 you began with {token[:30]}")
    assert [line.text for line in dialogue.lines] == [
        f"535 5.7.3 you said {HIDDEN} to me",
        f"535 5.7.3 you began with {HIDDEN}",
    ]


def test_ordinary_words_are_not_hidden() -> None:
    dialogue = Dialogue(Time())
    dialogue.hide(("secret-token-of-some-length",))
    text = "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled [AB1.prod.outlook.com]"
    assert dialogue.redact(text) == text
