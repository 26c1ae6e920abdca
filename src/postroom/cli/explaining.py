"""What a person pasted, and the remedy for it: an SMTP reply, an AADSTS text, an error of Graph, a code of ours. Pure.

The rooms that meet these things tell them apart; here it is only found out whose it is.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from postroom.accept.refusal_words import find_own_remedy
from postroom.api.error_codes import error_codes
from postroom.deliver import graph_answers, reply_rules
from postroom.deliver.replies import known_rule
from postroom.deliver.reply_rule import Rule
from postroom.identity.token_trouble import remedy_of_number, remedy_of_word
from postroom.remedies import all_remedies
from postroom.wire.replies import Reply, ReplyError, parse_reply

COMMANDS = ("AUTH", "MAIL", "RCPT", "DATA", "STARTTLS", "EHLO", "CONNECT")
"""What a reply may answer, by how often it is asked about."""
ABOUT_AADSTS = "https://login.microsoftonline.com/error?code={}"
"""Microsoft's own page about each number (Learn, "Microsoft Entra authentication and authorization error codes")."""

_NUMBER = re.compile(r"AADSTS(\d{4,9})\b", re.IGNORECASE)
_CODE_AND_ENHANCED = re.compile(r"\b([245]\d\d)\D{1,6}?([245]\.\d{1,3}\.\d{1,3})\b(.*)", re.DOTALL)
_ENHANCED = re.compile(r"\b([245]\.\d{1,3}\.\d{1,3})\b(.*)", re.DOTALL)
_STATUS = re.compile(r"(?:^|HTTP(?:/[\d.]+)?\s|status\D{1,3})([45]\d\d)\b", re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_CODES_LIKE = {"4": (451, 421, 432, 450, 452, 454), "5": (535, 550, 554, 530, 552, 501)}
"""Reply codes that an enhanced code is usual with, where only that one is at hand."""


class Explanation(msgspec.Struct, frozen=True):
    """What it is. Without remedies it is not known, and `meaning` says what follows from its class."""

    kind: str
    """`smtp_reply`, `aadsts`, `oauth`, `graph`, `postroom` or `unknown`."""
    remedies: tuple[str, ...] = ()
    """Ids; several where the same words mean different things in answer to different commands."""
    meaning: str = ""
    link: str = ""

    @property
    def is_known(self) -> bool:
        return bool(self.remedies) or self.kind == "postroom"


def explain(text: str, command: str = "") -> Explanation:
    """Whose words these are and which remedies they have. `command` is the SMTP verb that was answered, if known."""
    text = text.strip()
    for read in (_own_code, _own_refusal, _entra, _graph):
        found = read(text)
        if found is not None:
            return found
    return _smtp(text, (command.upper(),) if command else COMMANDS) or _oauth(text) or _unknown(text)


# ---- ours


def _own_code(text: str) -> Explanation | None:
    if not _WORD.fullmatch(text):
        return None
    if text in all_remedies():
        return Explanation("postroom", (text,))
    rules = (*reply_rules.RULES, *graph_answers.RULES)
    named = tuple(dict.fromkeys(rule.remedy_id for rule in rules if rule.code == text))
    if named:
        return Explanation("postroom", named)
    known = next((it for it in error_codes() if it.code == text), None)
    return Explanation("postroom", meaning=f"{known.meaning} (HTTP {known.status} of our API.)") if known else None


def _own_refusal(text: str) -> Explanation | None:
    remedy_id = find_own_remedy(text)
    return Explanation("postroom", (remedy_id,)) if remedy_id else None


# ---- Entra ID


def _entra(text: str) -> Explanation | None:
    numbers = [int(number) for number in _NUMBER.findall(text)]
    if not numbers:
        return None
    link = ABOUT_AADSTS.format(numbers[0])
    by_number = next((found for number in numbers if (found := remedy_of_number(number))), None)
    remedy_id = by_number or _by_word(text)
    if remedy_id:
        return Explanation("aadsts", (remedy_id,), link=link)
    meaning = (
        f"Postroom does not know AADSTS{numbers[0]}. It is Entra ID's, about signing in; Microsoft has a page on it."
    )
    return Explanation("aadsts", meaning=meaning, link=link)


def _oauth(text: str) -> Explanation | None:
    remedy_id = _by_word(text)
    return Explanation("oauth", (remedy_id,)) if remedy_id else None


def _by_word(text: str) -> str | None:
    return next((found for word in _WORD.findall(text) if (found := remedy_of_word(word))), None)


# ---- Microsoft Graph


def _graph(text: str) -> Explanation | None:
    answer = _graph_answer(text)
    if answer is None:
        return None
    rule = next((rule for rule in graph_answers.RULES if rule.fits(answer)), None) or _by_graph_code(answer.code)
    if rule is not None:
        return Explanation("graph", (rule.remedy_id,))
    meaning = (
        "Postroom does not know this error of Microsoft Graph. By its class what begins with 5 is tried again, and "
        "what begins with 4 fails the message."
    )
    return Explanation("graph", meaning=meaning)


def _graph_answer(text: str) -> graph_answers.GraphAnswer | None:
    """From `{"error": {"code": …}}` with or without the status before it, or from a code of Graph's in a line."""
    found = _STATUS.search(text)
    status = int(found[1]) if found else 0
    error = _json_of(text).get("error")
    if isinstance(error, dict):
        return graph_answers.GraphAnswer(status, str(error.get("code", "")), str(error.get("message", "")))
    known = {code for rule in graph_answers.RULES for code in rule.codes}
    code = next((word for word in _WORD.findall(text) if word in known), None)
    return graph_answers.GraphAnswer(status, code, text) if code else None


def _by_graph_code(code: str) -> graph_answers.GraphRule | None:
    return next((rule for rule in graph_answers.RULES if code in rule.codes), None)


def _json_of(text: str) -> dict[str, Any]:
    start = text.find("{")
    if start < 0:
        return {}
    try:
        found = msgspec.json.decode(text[start:])
    except msgspec.DecodeError:
        return {}
    return found if isinstance(found, dict) else {}


# ---- SMTP


def _smtp(text: str, commands: Sequence[str]) -> Explanation | None:
    replies = list(_replies_in(text))
    for reply in replies:
        rules = [rule for command in commands if (rule := known_rule(reply, command)) is not None]
        if rules:
            return Explanation("smtp_reply", _remedies_of(rules))
    said = next(iter(replies), None)
    if said is None:
        return _by_words(text)
    if said.code < 400:
        return Explanation("smtp_reply", meaning="It is no failure: the mail server agreed, or wants to hear more.")
    return Explanation("smtp_reply", meaning=_of_class(said.code))


def _remedies_of(rules: list[Rule]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(rule.remedy_id for rule in rules))


def _replies_in(text: str) -> Iterator[Reply]:
    """The reply as it stands, or the first one in a line of a log; with only an enhanced code, the usual ones."""
    try:
        yield parse_reply(text)
        return
    except ReplyError:
        pass
    if found := _CODE_AND_ENHANCED.search(text):
        yield Reply(int(found[1]), (_words(found[3]),), found[2])
    elif found := _ENHANCED.search(text):
        for code in _CODES_LIKE.get(found[1][0], ()):
            yield Reply(code, (_words(found[2]),), found[1])


def _words(text: str) -> str:
    return " ".join(text.split())


def _by_words(text: str) -> Explanation | None:
    """The sentence alone, without its codes: only what is told by its words can be told then."""
    said = text.lower()
    rules = [rule for rule in reply_rules.RULES if any(fragment in said for fragment in rule.fragments)]
    return Explanation("smtp_reply", _remedies_of(rules)) if rules else None


def _of_class(code: int) -> str:
    if code < 500:
        return "Postroom does not know this reply. By its class (4) it is temporary: the mail waits and is tried again."
    return (
        "Postroom does not know this reply. By its class (5) it is permanent: it fails the message, or stops the mail "
        "server where nothing was said about a message yet, as at sign-in."
    )


def _unknown(text: str) -> Explanation:
    meaning = "Postroom knows neither these words nor a code in them. Paste the whole reply, with its numbers."
    return Explanation("unknown", meaning=meaning)
