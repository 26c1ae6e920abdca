"""People and roles over HTTPS: who may see whom, and what comes back with little permission."""

import uuid

import pytest

from postroom.simulator.clouds import CLOUDS, GRAPH_HOSTS
from postroom.simulator.directory import Directory
from postroom.simulator.scopes import GRAPH
from tests.unit.simulator.graph_client import ANNA, SCANNER, GraphClient

pytestmark = pytest.mark.anyio
ROLES_OF_MINE = "/me/transitiveMemberOf/microsoft.graph.directoryRole"
EVENTUAL = {"ConsistencyLevel": "eventual"}
GLOBAL_ADMINISTRATOR = "62e90394-69f5-4237-9190-012177145e10"


async def test_somebody_is_found_by_name_and_by_id(graph: GraphClient) -> None:
    token = graph.app_token("User.Read.All")
    by_name = await graph.call("GET", f"/users/{ANNA}?$select=id,mail", token)
    by_id = await graph.call("GET", f"/users/{graph.user(ANNA).object_id}?$select=id,mail", token)
    assert by_name.json() == by_id.json()
    assert by_name.json()["mail"] == ANNA


async def test_an_alias_does_not_name_a_user(graph: GraphClient) -> None:
    graph.tenant.add_alias(graph.user().object_id, "scan@contoso.com")
    answer = await graph.call("GET", "/users/scan@contoso.com", graph.app_token("User.Read.All"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "Request_ResourceNotFound")


async def test_with_user_read_only_oneself_is_seen(graph: GraphClient) -> None:
    token = graph.token("User.Read")
    assert (await graph.call("GET", f"/users/{SCANNER}", token)).status_code == 200
    other = await graph.call("GET", f"/users/{ANNA}", token)
    assert (other.status_code, other.json()["error"]["code"]) == (403, "Authorization_RequestDenied")


async def test_an_application_is_not_told_of_licences(graph: GraphClient) -> None:
    answer = await graph.call("GET", f"/users/{SCANNER}/licenseDetails", graph.app_token("User.Read.All"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "Authorization_RequestDenied")


async def test_licences_name_their_owner_in_the_context(graph: GraphClient) -> None:
    answer = await graph.call("GET", "/me/licenseDetails", graph.token("User.Read"))
    user_id = graph.user().object_id
    assert answer.json()["@odata.context"] == f"{GRAPH}/v1.0/$metadata#users('{user_id}')/licenseDetails"


async def test_memberships_are_shown_with_type_and_id_alone(graph: GraphClient) -> None:
    answer = await graph.call("GET", "/me/transitiveMemberOf", graph.token("User.Read", user=ANNA))
    [role] = answer.json()["value"]
    assert role.pop("@odata.type") == "#microsoft.graph.directoryRole"
    assert uuid.UUID(role.pop("id"))
    assert set(role) == {"deletedDateTime", "description", "displayName", "roleTemplateId"}
    assert set(role.values()) == {None}


async def test_the_directory_permission_shows_which_role_it_is(graph: GraphClient) -> None:
    token = graph.token("Directory.Read.All", user=ANNA)
    [role] = (await graph.call("GET", "/me/transitiveMemberOf", token)).json()["value"]
    assert (role["displayName"], role["roleTemplateId"]) == ("Global Administrator", GLOBAL_ADMINISTRATOR)


async def test_a_cast_gives_the_roles_and_counts_them(graph: GraphClient) -> None:
    Directory(graph.tenant).assign_role(graph.user(ANNA).object_id, "Exchange Administrator")
    token = graph.token("Directory.Read.All", user=ANNA)
    answer = (await graph.call("GET", f"{ROLES_OF_MINE}?$count=true", token, headers=EVENTUAL)).json()
    assert answer["@odata.count"] == 2
    assert [role["displayName"] for role in answer["value"]] == ["Exchange Administrator", "Global Administrator"]
    assert "@odata.type" not in answer["value"][0]


async def test_somebody_without_roles_has_none(graph: GraphClient) -> None:
    token = graph.token("User.Read")
    assert (await graph.call("GET", "/me/transitiveMemberOf", token)).json()["value"] == []
    count = await graph.call("GET", "/me/transitiveMemberOf/$count", token, headers=EVENTUAL)
    assert (count.text, count.headers["content-type"]) == ("0", "text/plain; charset=utf-8")


async def test_a_cast_to_groups_finds_nothing(graph: GraphClient) -> None:
    path = "/me/transitiveMemberOf/microsoft.graph.group/$count"
    assert (await graph.call("GET", path, graph.token("User.Read", user=ANNA), headers=EVENTUAL)).text == "0"


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        (ROLES_OF_MINE, {}),
        (f"{ROLES_OF_MINE}?$count=true", {}),
        (ROLES_OF_MINE, EVENTUAL),
        (f"{ROLES_OF_MINE}/$count", {}),
        ("/me/transitiveMemberOf/$count", {}),
        ("/me/transitiveMemberOf?$count=true", {}),
        ("/me/transitiveMemberOf?$filter=displayName eq 'x'", EVENTUAL),
    ],
)
async def test_advanced_queries_need_their_header_and_count(
    graph: GraphClient, path: str, headers: dict[str, str]
) -> None:
    answer = await graph.call("GET", path, graph.token("User.Read", user=ANNA), headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "Request_UnsupportedQuery")


async def test_an_application_reads_anothers_roles(graph: GraphClient) -> None:
    token = graph.app_token("Directory.Read.All")
    [role] = (await graph.call("GET", f"/users/{ANNA}/transitiveMemberOf", token)).json()["value"]
    assert role["displayName"] == "Global Administrator"


@pytest.mark.parametrize("host", GRAPH_HOSTS)
async def test_each_cloud_takes_its_own_tokens_only(graph: GraphClient, host: str) -> None:
    for cloud in CLOUDS:
        token = graph.token("User.Read", resource=cloud.graph)
        answer = await graph.call("GET", f"https://{host}/v1.0/me", token)
        assert answer.status_code == (200 if cloud.graph_host == host else 401)
        if answer.status_code == 200:
            assert answer.json()["@odata.context"] == f"https://{host}/v1.0/$metadata#users/$entity"


async def test_a_revoked_token_is_told_to_sign_in_again(graph: GraphClient) -> None:
    token = graph.token("User.Read")
    graph.tenant.revoke_sessions(graph.user().object_id)
    challenge = (await graph.call("GET", "/me", token)).headers["www-authenticate"]
    assert 'error="insufficient_claims", claims="' in challenge
