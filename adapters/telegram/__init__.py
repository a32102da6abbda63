"""Telegram, through python-telegram-bot: updates taken raw and confirmed after their commit."""

from adapters.telegram.adapter import TelegramAdapter
from adapters.telegram.client import Timing
from adapters.telegram.webhook import WebhookSettings

__all__ = ["TelegramAdapter", "Timing", "WebhookSettings"]
