from collections.abc import AsyncIterator

import pytest
from joserfc.jwk import RSAKey

from postroom.simulator.clock import SimulatorClock
from postroom.simulator.tenant import AppRegistration, Tenant, User, contoso
from postroom.simulator.tokens import Tokens, make_signing_key
from tests.unit.simulator.graph_client import GraphClient, start_graph


@pytest.fixture(scope="session")
def signing_key() -> RSAKey:
    return make_signing_key()


@pytest.fixture
def clock() -> SimulatorClock:
    return SimulatorClock()


@pytest.fixture
def tenant(clock: SimulatorClock) -> Tenant:
    return contoso(clock)


@pytest.fixture
def tokens(tenant: Tenant, signing_key: RSAKey) -> Tokens:
    return Tokens(tenant, signing_key)


@pytest.fixture
def app(tenant: Tenant) -> AppRegistration:
    """Registered as a newcomer does it, but without any consent."""
    app = tenant.register_app("Postroom", "http://localhost:8025/oauth/callback")
    for permission in ("SMTP.Send", "offline_access"):
        tenant.add_permission(app.client_id, permission)
    tenant.add_secret(app.client_id)
    return app


@pytest.fixture
def scanner(tenant: Tenant) -> User:
    user = tenant.user_by_upn("scanner@contoso.com")
    assert user is not None
    return user


@pytest.fixture
async def graph(tenant: Tenant, tokens: Tokens) -> AsyncIterator[GraphClient]:
    """Microsoft Graph over TLS, and a program with a registration that may call it."""
    async with start_graph(tenant, tokens) as client:
        yield client
