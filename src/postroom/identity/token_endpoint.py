"""Posts a form to a token endpoint, so that the whole answer is kept."""

import httpx2
import msgspec

from postroom.clock import Clock
from postroom.identity.client import Client, Form, identify_client
from postroom.identity.providers import Provider
from postroom.identity.redaction import hide_secrets
from postroom.identity.token_answers import TokenFailure, Tokens, no_answer, read_token_answer

_SECRETS = ("client_secret", "client_assertion", "refresh_token", "code", "code_verifier", "device_code")


async def ask_for_tokens(
    http: httpx2.AsyncClient, provider: Provider, client: Client, form: Form, clock: Clock
) -> Tokens | TokenFailure:
    """The answer to a grant's form, sent with which app asks and its proof.

    A network that fails is an answer too: never raises for it.
    """
    url = provider.token_url(client.tenant)
    form = {**form, **identify_client(client, url, clock.now_us())}
    try:
        response = await http.post(url, data=dict(form), headers={"Accept": "application/json"})
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as trouble:
        return no_answer(trouble)
    answer = read_token_answer(response.status_code, response.headers, response.content, clock.now_us())
    return _without_secrets(answer, form) if isinstance(answer, TokenFailure) else answer


def _without_secrets(failure: TokenFailure, form: Form) -> TokenFailure:
    """What was answered is shown on pages and kept: it must not repeat what was asked."""
    secrets = [form[name] for name in _SECRETS if form.get(name)]
    said = msgspec.structs.asdict(failure)
    said.update({name: hide_secrets(text, secrets) for name, text in said.items() if isinstance(text, str)})
    return TokenFailure(**said)
