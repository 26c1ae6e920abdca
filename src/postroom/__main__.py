"""`python -m postroom` is the command `postroom`."""

from postroom.cli import main

main()
