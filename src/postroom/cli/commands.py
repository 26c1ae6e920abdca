"""The command `postroom` and all that can be said behind it."""

import sys

import click

from postroom import __version__
from postroom.cli import PERSONALITIES
from postroom.cli.app import app
from postroom.cli.choices import choices
from postroom.cli.explain import explain
from postroom.cli.init import init
from postroom.cli.mail_server import mail_server
from postroom.cli.messages import messages
from postroom.cli.send import send
from postroom.cli.sending import sending
from postroom.cli.serve import serve
from postroom.cli.simulate import simulate
from postroom.cli.vault import vault


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="postroom")
def main() -> None:
    """Postroom: the outbound mail server between everything that sends mail and Microsoft 365."""


main.add_command(init)
main.add_command(serve)
main.add_command(simulate)
main.add_command(app)
main.add_command(choices)
main.add_command(explain)
main.add_command(mail_server)
main.add_command(messages)
main.add_command(send)
main.add_command(sending)
main.add_command(vault)


class Verbatim(click.Command):
    """A program with rules of its own: its arguments reach it as they were written, `--` and all."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.params["arguments"] = list(args)
        return []


def _personality(name: str, meaning: str) -> click.Command:
    def run(arguments: list[str]) -> None:
        from postroom.cli.sendmail import main as sendmail

        sys.exit(sendmail(name, arguments))

    return Verbatim(name, callback=run, help=meaning, add_help_option=False)


for _name, _meaning in PERSONALITIES.items():
    main.add_command(_personality(_name, _meaning))
