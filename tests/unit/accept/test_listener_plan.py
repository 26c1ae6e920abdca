"""What the settings ask for, and what no setting can bring about: an open relay."""

from pathlib import Path

import pytest

from postroom.accept.listener_plan import (
    certificate_addresses,
    own_addresses,
    plan_listeners,
    plan_proxies,
    require_safe_apps,
)
from postroom.errors import SettingsError
from postroom.server import Server
from postroom.settings import (
    ConsoleSettings,
    DeviceSettings,
    ImplicitTlsSettings,
    LocalSettings,
    Settings,
    SmtpSettings,
    SubmissionSettings,
)
from postroom.store.records import App


def test_only_submission_listens_unless_more_is_switched_on() -> None:
    assert [plan.section for plan in plan_listeners(Settings())] == ["submission"]
    settings = Settings(
        submission=SubmissionSettings(enabled=False),
        implicit_tls=ImplicitTlsSettings(enabled=True, host="0.0.0.0 ::", port=465),
        local=LocalSettings(enabled=True, host="127.0.0.1 ::1 localhost"),
        device=DeviceSettings(enabled=True, host="10.2.3.4 fd00::4"),
    )
    plans = plan_listeners(settings)
    assert [(plan.section, plan.hosts, plan.port) for plan in plans] == [
        ("implicit_tls", "0.0.0.0 ::", 465),
        ("local", "127.0.0.1 ::1 localhost", 2526),
        ("device", "10.2.3.4 fd00::4", 2525),
    ]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.2.3.4", "127.0.0.1 192.168.1.1", "relay.example"])
def test_the_local_listener_is_for_this_machine(host: str) -> None:
    with pytest.raises(SettingsError, match=r"local\.host is .*may send without a password\. Write 127\.0\.0\.1"):
        plan_listeners(Settings(local=LocalSettings(enabled=True, host=host)))
    plan_listeners(Settings(local=LocalSettings(enabled=False, host=host)))


@pytest.mark.parametrize(
    ("host", "own", "why"),
    [
        ("8.8.8.8", [], "would be reached at 8.8.8.8, which is a public address"),
        ("10.2.3.4 2a00::4", [], "would be reached at 2a00::4, which is a public address"),
        ("0.0.0.0", ["127.0.0.1", "8.8.8.8"], "would be reached at 8.8.8.8"),
        ("::", ["::1", "10.2.3.4", "2a00::4"], "would be reached at 2a00::4"),
        ("0.0.0.0", None, "this system does not tell which addresses that includes"),
        ("relay.example", [], "which is no address"),
        ("", [], r"device\.host is empty"),
    ],
)
def test_the_device_listener_is_never_on_a_public_address(host: str, own: list[str] | None, why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        plan_listeners(Settings(device=DeviceSettings(enabled=True, host=host)), lambda: own)


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("0.0.0.0", ["127.0.0.1", "10.2.3.4", "2a00::4"]),
        ("::", ["127.0.0.1", "8.8.8.8", "::1", "fe80::1", "fd00::4"]),
        ("10.2.3.4", None),
    ],
)
def test_the_device_listener_may_be_on_all_private_addresses(host: str, own: list[str] | None) -> None:
    assert plan_listeners(Settings(device=DeviceSettings(enabled=True, host=host)), lambda: own)[-1].hosts == host


def test_this_machine_tells_its_addresses() -> None:
    assert "127.0.0.1" in (own_addresses() or [])


def test_the_certificate_names_what_is_listened_on() -> None:
    settings = Settings(
        submission=SubmissionSettings(host="0.0.0.0 fd00::4"),
        local=LocalSettings(enabled=True),
        device=DeviceSettings(enabled=True, host="192.168.1.4 localhost"),
    )
    own = ["127.0.0.1", "10.2.3.4", "fe80::1", "fd00::9"]
    found = certificate_addresses(plan_listeners(settings, lambda: own), lambda: own)
    assert found == ["127.0.0.1", "10.2.3.4", "fd00::4", "192.168.1.4"]


def test_proxies_are_addresses_and_networks() -> None:
    proxies = plan_proxies(Settings(smtp=SmtpSettings(proxies="10.2.3.4 fd00::/64")))
    assert [str(it) for it in proxies] == ["10.2.3.4/32", "fd00::/64"]
    with pytest.raises(SettingsError, match=r"smtp\.proxies: “balancer” is no address or network"):
        plan_proxies(Settings(smtp=SmtpSettings(proxies="balancer")))


def test_an_app_that_would_open_the_server_keeps_it_from_starting() -> None:
    safe = App(app_id=1, name="HP", login="hp", addresses=("10.2.3.4",), needs_sign_in=False)
    off = App(app_id=2, name="Old", login="old", needs_sign_in=False, is_enabled=False)
    require_safe_apps([safe, off])
    for addresses in ((), ("0.0.0.0/0",), ("8.8.8.8",)):
        app = App(app_id=3, name="Open", login="open", addresses=addresses, needs_sign_in=False)
        with pytest.raises(SettingsError, match=r"because of the app “Open”.*Set device\.enabled to false, start, and"):
            require_safe_apps([safe, app])


@pytest.mark.anyio
@pytest.mark.parametrize(
    "settings", [{"local": LocalSettings(enabled=True, host="0.0.0.0")}, {"smtp": SmtpSettings(proxies="x")}]
)
async def test_the_server_refuses_to_start(tmp_path: Path, settings: dict[str, object]) -> None:
    with pytest.raises(SettingsError):
        await Server.start(
            Settings(
                data_folder=str(tmp_path / "data"),
                console=ConsoleSettings(port=0),
                submission=SubmissionSettings(port=0),
                **settings,  # type: ignore[arg-type]
            )
        )
