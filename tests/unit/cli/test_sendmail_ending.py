"""Which reply ends with which exit code, and which may wait in the drop folder."""

import os

import pytest

from postroom.cli.sendmail_ending import Reply, exit_code_of, may_wait_outside


@pytest.mark.parametrize(
    ("code", "enhanced", "exit_code"),
    [
        (250, "2.0.0", os.EX_OK),
        (451, "4.3.0", os.EX_TEMPFAIL),
        (452, "4.3.1", os.EX_TEMPFAIL),
        (450, "", os.EX_TEMPFAIL),
        (501, "5.1.3", os.EX_NOUSER),
        (550, "5.1.1", os.EX_NOUSER),
        (550, "5.1.2", os.EX_NOHOST),
        (501, "5.1.7", os.EX_DATAERR),
        (552, "5.3.4", os.EX_DATAERR),
        (552, "", os.EX_DATAERR),
        (550, "5.6.0", os.EX_DATAERR),
        (554, "5.4.6", os.EX_DATAERR),
        (554, "5.3.5", os.EX_CONFIG),
        (550, "5.7.1", os.EX_NOPERM),
        (535, "", os.EX_NOPERM),
        (530, "5.7.0", os.EX_NOPERM),
        (554, "5.5.0", os.EX_UNAVAILABLE),
        (554, "", os.EX_UNAVAILABLE),
    ],
)
def test_a_script_learns_what_it_can_do(code: int, enhanced: str, exit_code: int) -> None:
    assert exit_code_of(Reply(code, enhanced, "said")) == exit_code


@pytest.mark.parametrize(
    ("code", "enhanced", "may_wait"),
    [
        (421, "4.3.2", True),  # it is shutting down
        (421, "", True),
        (451, "4.3.5", True),  # no mail server is set up yet
        (451, "4.3.0", True),
        (452, "4.3.1", False),  # no room: a second queue would only hide it
        (451, "4.7.1", False),  # too much of it
        (421, "4.7.0", True),  # all connections are in use
        (452, "4.5.3", False),
    ],
)
def test_mail_waits_for_a_server_that_is_not_ready_but_not_for_one_that_has_enough(
    code: int, enhanced: str, may_wait: bool
) -> None:
    assert may_wait_outside(Reply(code, enhanced, "said")) is may_wait
