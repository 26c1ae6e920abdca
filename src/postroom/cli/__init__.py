"""The commands: parse, call, print, exit code.

Nothing else is imported here: cron starts `sendmail` for every mail, and must not wait for the whole server to load.
"""

import os.path
import sys

PERSONALITIES = {
    "sendmail": "Hand in a message as sendmail(8) does: for cron, PHP, scripts.",
    "mailq": "List the mail that waits.",
    "newaliases": "Do nothing: there are no alias files.",
}
"""Names by which other programs know a mail system (sendmail(8)); a symbolic link gives them to ours."""


def main() -> None:
    """The program by its own name: `sendmail`, `postroom-sendmail`, or `postroom sendmail`; anything else is ours."""
    name, arguments = _called_as(sys.argv)
    if name in PERSONALITIES:
        from postroom.cli.sendmail import main as sendmail

        sys.exit(sendmail(name, arguments))
    from postroom.cli.commands import main as postroom

    postroom()


def _called_as(words: list[str]) -> tuple[str, list[str]]:
    name = os.path.basename(words[0]).removeprefix("postroom-")
    if name in PERSONALITIES:
        return name, words[1:]
    return (words[1], words[2:]) if len(words) > 1 and words[1] in PERSONALITIES else (name, words[1:])
