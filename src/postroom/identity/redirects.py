"""Where Microsoft sends a browser after the sign-in. Pure.

Entra takes https, or http for localhost only (Microsoft Learn, "Redirect URI (reply URL) restrictions and
limitations"). The address comes from our settings, never from what a client says about itself: who could choose it
would be sent the codes.
"""

from urllib.parse import urlsplit

CALLBACK_PATH = "/oauth/callback"


def redirect_url_for(public_url: str, port: int) -> str:
    """The address to register in Entra, byte for byte, for a console that people reach at `public_url`.

    Where Entra would not take that, it is one on the person's own computer, at which nothing answers: the browser
    shows an error page, and its address, which holds the answer, is pasted.
    """
    if is_taken_by_entra(public_url):
        return f"{public_url}{CALLBACK_PATH}"
    return f"http://localhost:{port}{CALLBACK_PATH}"


def is_taken_by_entra(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname == "localhost")
