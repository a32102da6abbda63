"""Discord, through discord.py as the wire: REST buckets, gateway and shards are the library's, events plain JSON."""

from adapters.discord.adapter import DiscordAdapter
from adapters.discord.gateway import Timing

__all__ = ["DiscordAdapter", "Timing"]
