"""Reads the address that a person pastes after signing in on another computer: what Microsoft said stands in it. Pure.

The text holds a code: nothing of it is repeated in a sentence.
"""

from urllib.parse import parse_qsl, urlsplit

from postroom.identity.refused import SignInRefused, refuse

LONGEST_ADDRESS = 16_384
"""Entra's codes have about 1,500 letters; what is longer than this is no address."""


def read_pasted_address(text: str, redirect_url: str) -> dict[str, str]:
    """The parameters with which Microsoft sent the browser to `redirect_url`. SignInRefused with what is wrong."""
    address = _without_blanks(text)
    if not address:
        raise _refused("nothing", "Nothing was pasted. Copy the whole address of the page on which the sign-in ended.")
    if len(address) > LONGEST_ADDRESS:
        raise _refused("not_an_address", f"This is longer than any address. {_what_to_copy(redirect_url)}")
    try:
        parts = urlsplit(address if "://" in address else f"http://{address}")
        params = dict(parse_qsl(parts.query or parts.fragment, keep_blank_values=True, max_num_fields=50))
    except ValueError:
        raise _refused("not_an_address", f"This is not an address. {_what_to_copy(redirect_url)}") from None
    if parts.path != urlsplit(redirect_url).path:
        raise _refused_elsewhere(parts.path, "state" in params and "client_id" in params, redirect_url)
    if not params.get("code") and not params.get("error"):
        raise _refused("without_code", f"This address holds no answer of Microsoft. {_what_to_copy(redirect_url)}")
    if not params.get("state"):
        raise _refused("without_state", "This address was cut off: it does not say to which sign-in it belongs.")
    return params


def _without_blanks(text: str) -> str:
    """A terminal or a mail may have broken the line; an address has no blanks of its own."""
    return "".join(text.split())


def _refused_elsewhere(path: str, is_authorize: bool, redirect_url: str) -> SignInRefused:
    if is_authorize or "/oauth2/" in path or path.endswith(("/login", "/reprocess", "/kmsi")):
        return _refused(
            "microsofts_page",
            "This is the address of Microsoft's own page: the sign-in is not finished there. Finish it first. "
            f"{_what_to_copy(redirect_url)}",
        )
    if path in ("", "/"):
        return _refused("not_an_address", f"This is not the whole address. {_what_to_copy(redirect_url)}")
    return _refused("another_page", f"This is the address of another page. {_what_to_copy(redirect_url)}")


def _what_to_copy(redirect_url: str) -> str:
    return f"Copy the address of the page on which the sign-in ended; it begins with {redirect_url}?."


def _refused(code: str, text: str) -> SignInRefused:
    return refuse(f"pasted_{code}", f"{text} Nothing was saved.", "sign_in_paste")
