"""`banter model`: what a checkpoint is, what it says, and how it is written anew. Imports nothing heavy."""

import importlib

import click

_PARTS = {
    "convert": "bot.convert_command",
    "inspect": "bot.inspect_command",
    "trace": "bot.trace.command",
}


class _Parts(click.Group):
    """Commands of other modules, imported when they are called for."""

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted(_PARTS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        module = _PARTS.get(name)
        if module is None:
            return None
        command: click.Command = getattr(importlib.import_module(module), name)
        return command


@click.group(cls=_Parts)
def model() -> None:
    """Look into checkpoints of any family, and convert them.

    \b
    Examples:
      banter model inspect restore/medium_ft.pkl
      banter model trace checkpoints/pingpong --turns turns.json
      banter model convert restore/medium_ft.pkl checkpoints/medium
    """
