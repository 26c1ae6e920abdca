"""The commands: parse, call, print, exit code."""

import click

from postroom import __version__
from postroom.cli.init import init
from postroom.cli.serve import serve
from postroom.cli.simulate import simulate


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="postroom")
def main() -> None:
    """Postroom: the outbound mail server between everything that sends mail and Microsoft 365."""


main.add_command(init)
main.add_command(serve)
main.add_command(simulate)
