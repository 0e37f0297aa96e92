"""How long the threads in the background rest: in proportion to the processor time they take.

A thread that computes does not give the interpreter away by itself: whoever wakes up meanwhile gets
it 5 ms later, at the switch interval. So these work in slices shorter than anybody notices, take
turns, and work no more than a part of the time, so that most tokens of a stream do not meet them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

SLICE = 0.0005
"""Seconds of work between two rests: so late may a token be that meets it."""
RATIO = 2.5
"""Seconds of rest for each second of work.

Less, and too many tokens meet the work for the median not to notice; more, and OpenTelemetry's
encoder cannot keep up with 3,000 tokens a second at leisure.
"""
LEAST = 0.2
"""Rest for each second of work, though there was enough in advance: others get in between."""
MOST = 0.1
"""Seconds of rest in advance, or owed: what 512 token spans cost in OpenTelemetry's encoder."""
PIECE = 0.01
"""Seconds of rest at once: so soon it is noticed that somebody is in a hurry."""


@dataclass(slots=True)
class Budget:
    """The time that all threads in the background may work, together.

    It takes no lock, which a child process could inherit: if two threads settle at once, one rests
    too little, once.

    Attributes:
        ratio: Seconds of rest for each second of work.
        paid_until: Up to when what was worked has been rested for, by the clock.
    """

    ratio: float = RATIO
    paid_until: float = -math.inf

    def settle(self, worked: float, now: float) -> float:
        """How long to rest after a slice of work that has just ended.

        What they wait for anyhow, a receiver that answers slowly or the next call, is rest, too.

        Args:
            worked: Seconds of processor time.
            now: What the clock shows.
        """
        until = max(self.paid_until, now - worked - MOST) + worked * (1.0 + self.ratio)
        self.paid_until = min(until, now + MOST)
        return max(self.paid_until - now, LEAST * worked)


def pause(seconds: float, is_over: Callable[[], bool]) -> None:
    """Rests so long, or until it is over."""
    while seconds > 0 and not is_over():
        time.sleep(min(seconds, PIECE))
        seconds -= PIECE
