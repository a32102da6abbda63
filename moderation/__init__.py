"""Moderation: what may be said to and by the bot. Knows nothing of platforms, the store, models or the bot."""
