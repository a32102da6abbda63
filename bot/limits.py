"""How often somebody may be answered, and how often they are told so.

Both remember a bounded number of keys and are asked with the moment of the event, so that what was written
during an outage is not mistaken for a flood when it arrives all at once.
"""

from collections import OrderedDict
from datetime import datetime, timedelta

from bot.config import Rate

_REMEMBERED_KEYS = 20_000


class Limiter:
    """Token buckets by key: `rate.count` at once, refilled evenly over `rate.per`."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[str, tuple[float, datetime]] = OrderedDict()

    def admit(self, key: str, rate: Rate, at: datetime) -> bool:
        """Take one token of `key`'s bucket if there is one."""
        level, since = self._buckets.pop(key, (float(rate.count), at))
        moment = max(at, since)
        level = min(float(rate.count), level + (moment - since) / rate.per * rate.count)
        admitted = level >= 1.0
        self._buckets[key] = (level - 1.0 if admitted else level, moment)
        if len(self._buckets) > _REMEMBERED_KEYS:
            self._buckets.popitem(last=False)
        return admitted


class NoticeBoard:
    """One notice a window: `due` is true the first time and then not before `window` is over."""

    def __init__(self) -> None:
        self._shown: OrderedDict[str, datetime] = OrderedDict()

    def due(self, key: str, window: timedelta, at: datetime) -> bool:
        last = self._shown.get(key)
        if last is not None and at - last < window:
            return False
        self._shown[key] = at
        self._shown.move_to_end(key)
        if len(self._shown) > _REMEMBERED_KEYS:
            self._shown.popitem(last=False)
        return True
