import pytest

from postroom.simulator.aadsts import AadstsError
from postroom.simulator.clouds import CLOUDS, Cloud
from postroom.simulator.scopes import GRAPH, OUTLOOK, parse_scopes


def test_scopes_are_sorted_by_resource_in_the_order_asked() -> None:
    scopes = parse_scopes(
        "openid profile offline_access https://outlook.office.com/SMTP.Send https://graph.microsoft.com/User.Read",
        "Contoso",
    )
    assert list(scopes.resources) == [OUTLOOK, GRAPH]
    assert scopes.resources[OUTLOOK] == ("SMTP.Send",)
    assert scopes.openid == ("openid", "profile", "offline_access")
    assert scopes.first_resource == OUTLOOK
    assert scopes.permissions == ("SMTP.Send", "User.Read", "openid", "profile", "offline_access")


def test_a_scope_without_a_resource_is_graphs() -> None:
    assert parse_scopes("SMTP.Send user.read", "Contoso").resources == {GRAPH: ("SMTP.Send", "User.Read")}


def test_capitals_do_not_matter() -> None:
    assert parse_scopes("https://Outlook.Office.com/smtp.send", "Contoso").resources == {OUTLOOK: ("SMTP.Send",)}


@pytest.mark.parametrize(
    "text",
    [
        "https://outlook.office.com/SMTP.SendAsApp offline_access",
        "Nothing.Such",
        "offline_access,User.Read",
        "https://graph.microsoft.com/.default https://graph.microsoft.com/User.Read",
        "https://outlook.office.com/.default User.Read",
    ],
)
def test_a_permission_that_does_not_exist_is_refused(text: str) -> None:
    with pytest.raises(AadstsError, match="AADSTS70011") as refused:
        parse_scopes(text, "Contoso")
    assert f"The scope '{text}' does not exist" in refused.value.sentence
    assert refused.value.problem.error == "invalid_scope"


def test_an_unknown_resource_is_named() -> None:
    with pytest.raises(AadstsError, match=r"AADSTS500011: The resource principal named https://nowhere\.example "):
        parse_scopes("https://nowhere.example/Mail.Send", "Contoso")


def test_an_empty_scope_is_missing() -> None:
    with pytest.raises(AadstsError, match=r"AADSTS900144.*'scope'"):
        parse_scopes("  ", "Contoso")


def test_default_stands_for_what_the_registration_lists() -> None:
    scopes = parse_scopes("openid https://graph.microsoft.com/.default", "Contoso")
    assert scopes.asks_default
    assert scopes.resources == {GRAPH: (".default",)}


@pytest.mark.parametrize("cloud", CLOUDS, ids=[cloud.name for cloud in CLOUDS])
def test_each_cloud_has_its_own_resources(cloud: Cloud) -> None:
    scopes = parse_scopes(f"User.Read {cloud.outlook}/SMTP.Send", "Contoso", cloud)
    assert scopes.resources == {cloud.graph: ("User.Read",), cloud.outlook: ("SMTP.Send",)}
    assert parse_scopes("openid", "Contoso", cloud).first_resource == cloud.graph
    assert cloud.canonical_resource(cloud.graph) == GRAPH
    assert cloud.canonical_resource(cloud.outlook) == cloud.canonical_resource(cloud.exchange)
    foreign = next(other for other in CLOUDS if other.outlook != cloud.outlook)
    with pytest.raises(AadstsError, match="AADSTS500011"):
        parse_scopes(f"{foreign.outlook}/SMTP.Send", "Contoso", cloud)
