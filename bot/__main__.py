"""`python -m bot` is `banter`."""

from bot.cli import main

main()
