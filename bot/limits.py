"""How often somebody may be answered, and how often they are told so.

Both remember a bounded number of keys and are asked with the moment of the event, so that what was written
during an outage is not mistaken for a flood when it arrives all at once. A sender's clock may stand still, so the
limiter takes ours beside it.
"""

from collections import OrderedDict
from datetime import datetime, timedelta

from bot.config import Rate

_REMEMBERED_KEYS = 20_000


class Limiter:
    """Token buckets by key: `rate.count` at once, refilled evenly over `rate.per`."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[str, tuple[float, tuple[datetime, ...]]] = OrderedDict()

    def admit(self, key: str, rate: Rate, *clocks: datetime) -> bool:
        """Take one token of `key`'s bucket if there is one. `clocks` tell the event's moment, each key's always in the
        same order; the one that went furthest since the last event counts."""
        level, since = self._buckets.pop(key, (float(rate.count), clocks))
        moments = tuple(max(pair) for pair in zip(clocks, since, strict=True))
        passed = max(moment - before for moment, before in zip(moments, since, strict=True))
        level = min(float(rate.count), level + passed / rate.per * rate.count)
        admitted = level >= 1.0
        self._buckets[key] = (level - 1.0 if admitted else level, moments)
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
