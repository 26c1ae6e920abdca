"""Only our own pages may post to us: the browser's word on where a form came from, and a token in the form."""

import hmac
from urllib.parse import urlsplit

from starlette.requests import Request

FIELD = "csrf_token"


def comes_from_us(request: Request, public_url: str) -> bool:
    """Whether the browser says that this request was made by a page of ours.

    Browsers send `Origin` with every POST and most send `Sec-Fetch-Site`; a client that sends neither is no
    browser and has no cookie that somebody else could borrow.
    """
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = request.headers.get("origin") or request.headers.get("referer")
    if not origin:
        return True
    here = {urlsplit(public_url).netloc, request.headers.get("host", "")} - {""}
    return urlsplit(origin).netloc in here


def is_our_token(expected: str, given: str) -> bool:
    """Compared in constant time; an empty token is nobody's."""
    return bool(expected) and hmac.compare_digest(expected.encode(), given.encode())
