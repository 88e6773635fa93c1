"""How often a password may be guessed from one address, and what is said of it."""

from __future__ import annotations

import ipaddress
import logging
import time
from collections.abc import Callable
from threading import Lock

BURST = 5
"""Wrong passwords in a row that an address may send at once."""
SECONDS_EACH = 5.0
"""After them one more in so many seconds."""
MOST_ADDRESSES = 10_000
"""Those beyond them share what one may guess."""
SAY_EVERY = 60.0
"""Seconds between lines about one address, once it guesses faster than it may."""

_log = logging.getLogger(__name__)


class Guesses:
    """Wrong passwords of late by the address that they came from; safe between threads.

    Args:
        clock: Seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._levels: dict[str, tuple[float, float]] = {}
        self._refused: dict[str, tuple[int, float]] = {}

    def wait(self, address: str) -> float:
        """Seconds until another password of an address is looked at; 0 where it is now."""
        with self._lock:
            place = self._place(address)
            over = self._level(place) - BURST + 1
            if over <= 0:
                return 0.0
            count, said_at = self._refused.get(place, (0, -SAY_EVERY))
            count += 1
            if self._clock() - said_at >= SAY_EVERY:
                _log.warning(
                    "dashboard: passwords from %s come too fast; %d not looked at", place, count
                )
                count, said_at = 0, self._clock()
            self._refused[place] = count, said_at
            return over * SECONDS_EACH

    def count(self, address: str) -> None:
        """Count a wrong password."""
        with self._lock:
            place = self._place(address)
            self._levels[place] = self._level(place) + 1, self._clock()
        _log.warning("dashboard: wrong password from %s", place)

    def _level(self, place: str) -> float:
        level, at = self._levels.get(place, (0.0, 0.0))
        return max(0.0, level - (self._clock() - at) / SECONDS_EACH)

    def _place(self, address: str) -> str:
        """An address, or the network that one customer has of addresses (IPv6)."""
        try:
            known = ipaddress.ip_address(address)
        except ValueError:
            return "an unknown address"
        place = str(known)
        if known.version == 6 and known.ipv4_mapped is None:
            place = str(ipaddress.ip_network(f"{place}/64", strict=False))
        if place in self._levels or len(self._levels) < MOST_ADDRESSES:
            return place
        self._levels = {x: pair for x, pair in self._levels.items() if self._level(x) > 0}
        self._refused = {x: pair for x, pair in self._refused.items() if x in self._levels}
        return place if len(self._levels) < MOST_ADDRESSES else "many addresses"
