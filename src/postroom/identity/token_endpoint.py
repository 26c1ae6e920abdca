"""Posts a form to a token endpoint, so that the whole answer is kept."""

import httpx2

from postroom.clock import Clock
from postroom.identity.grants import Form
from postroom.identity.token_answers import TokenFailure, Tokens, no_answer, read_token_answer


async def post_form(http: httpx2.AsyncClient, url: str, form: Form, clock: Clock) -> Tokens | TokenFailure:
    """The answer of the endpoint; a network that fails is an answer too. Never raises for either."""
    try:
        response = await http.post(url, data=dict(form), headers={"Accept": "application/json"})
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as trouble:
        return no_answer(trouble)
    return read_token_answer(response.status_code, response.headers, response.content, clock.now_us())
