"""How fast token spans may come: no faster than the queues behind can take them.

A `BatchSpanProcessor` holds 2,048 spans and then drops the oldest, whoever's they are. Half of that
is left to the application. Where a queue can be looked into, its own thread empties it in its own
time; `force_flush()` would go on for as long as the application starts spans. It is only for
processors that cannot be looked into, and in a thread of its own: behind an exporter that is dead
it would not come back.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from queue import Queue
from typing import Any

from opentelemetry.sdk.environment_variables import OTEL_BSP_MAX_QUEUE_SIZE
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from langchain_logprobs.telemetry.aside import Aside
from langchain_logprobs.telemetry.exporting import Exporting, exporting_of
from langchain_logprobs.telemetry.identity import OfEach
from langchain_logprobs.telemetry.linking import LinkingProcessor
from langchain_logprobs.telemetry.worker import SHARED

SLICE = 128
"""Token spans between two rests of the worker: a fifth of a millisecond's work."""
FEW = 16
"""The same, where each has to be started and ended: that takes ten times as long."""
BURST = 512
"""Token spans between two flushes, where there is no other way: a batch."""


@dataclass(slots=True)
class _Backlog:
    """What a provider was handed since its last flush, and the flush that is under way."""

    spans: int = 0
    flush: Aside[object] | None = None

    def is_flushing(self) -> bool:
        """Whether it is still being emptied; raises what went wrong with that."""
        if self.flush is None or self.flush.is_under_way:
            return self.flush is not None
        ended, self.flush = self.flush, None
        ended.result()
        return False

    def empty(self, flush: Callable[[], object]) -> None:
        """Starts to empty it."""
        self.spans = 0
        self.flush = Aside(flush)


@dataclass(frozen=True, slots=True)
class Pace:
    """Whether there is room for more token spans.

    Attributes:
        slice: Spans to hand over at once.
        queues: Those that fill; `None` if a processor may have one that cannot be seen.
        tasks: What exporters have still to do, and drop when that is too much.
        threads: Those that export.
        flush: Empties them, however long that takes.
        burst: Spans between two flushes.
        backlog: What all calls together have handed over since the last.
    """

    slice: int
    queues: list[deque[Any]] | None
    flush: Callable[[], object]
    tasks: Sequence[Queue[Any]]
    threads: Sequence[Exporting]
    burst: int
    backlog: _Backlog

    def has_room(self) -> bool:
        """Whether a slice may be handed over now."""
        if any(tasks.qsize() + self.slice > tasks.maxsize // 2 for tasks in self.tasks):
            return False
        now = time.monotonic()
        if not all(of.has_rested(now) for of in self.threads) and not SHARED.is_hurried:
            return False
        if self.queues is not None:
            return all(len(queue) + self.slice <= _share(queue) for queue in self.queues)
        if self.backlog.is_flushing():
            return False
        if not self.backlog.spans or self.backlog.spans + self.slice <= self.burst:
            return True
        self.backlog.empty(self.flush)
        return False

    def count(self, spans: int) -> None:
        """Notes what was handed over."""
        self.backlog.spans += spans


_BACKLOGS: OfEach[_Backlog] = OfEach(lambda _: _Backlog())


def pace_of(provider: object) -> Pace:
    """The pace at which a provider takes spans."""
    active = getattr(provider, "_active_span_processor", None)
    queues = _queues(active)
    burst = _burst(os.environ.get(OTEL_BSP_MAX_QUEUE_SIZE, ""))
    return Pace(
        slice=SLICE if queues is not None else min(SLICE, burst),
        queues=queues,
        flush=getattr(provider, "force_flush", lambda: None),
        tasks=[] if active is None else [*filter(None, map(_tasks, processors(active)))],
        threads=[] if active is None else [*filter(None, map(_exporting, processors(active)))],
        burst=burst,
        backlog=_BACKLOGS[provider],
    )


def processors(processor: object) -> Iterable[object]:
    """The span processors that one stands for, which is itself or those it hands on to."""
    inner = getattr(processor, "_span_processors", None)
    return [processor] if inner is None else inner


def _queues(processor: object) -> list[deque[Any]] | None:
    if processor is None:
        return None
    seen = [(one, _seen(one)) for one in processors(processor)]
    if any(queue is None and not _holds_nothing(one) for one, queue in seen):
        return None
    return [queue for _, queue in seen if queue is not None]


def _seen(processor: object) -> deque[Any] | None:
    """The queue of a batch processor, if it is emptied before it is fuller than our share."""
    batch = _batch(processor)
    queue, size = getattr(batch, "_queue", None), getattr(batch, "_max_export_batch_size", None)
    if isinstance(queue, deque) and isinstance(size, int) and size + SLICE <= _share(queue):
        return queue
    return None


def _batch(processor: object) -> object | None:
    """What a batch processor has its queue and its thread in, as of OpenTelemetry 1.33."""
    processor = getattr(processor, "_batch_delegate", None) or processor  # MLflow's has one inside
    return getattr(processor, "_batch_processor", None)


def _tasks(processor: object) -> Queue[Any] | None:
    """The bounded queue of things to do that an exporter has, as MLflow's does."""
    exporter = getattr(processor, "span_exporter", None)
    tasks = getattr(getattr(exporter, "_async_queue", None), "_queue", None)
    return tasks if isinstance(tasks, Queue) and tasks.maxsize > 0 else None


def _exporting(processor: object) -> Exporting | None:
    thread = getattr(_batch(processor), "_worker_thread", None)
    return exporting_of(thread) if isinstance(thread, threading.Thread) else None


def _share(queue: deque[Any]) -> int:
    return (queue.maxlen or 0) // 2


_HOLDS_NOTHING = {
    kind.force_flush for kind in (SpanProcessor, SimpleSpanProcessor, LinkingProcessor)
}


def _holds_nothing(processor: object) -> bool:
    """Whether a processor has nothing to flush."""
    return getattr(type(processor), "force_flush", None) in _HOLDS_NOTHING


def _burst(queue_size: str) -> int:
    """How many spans to hand over between two flushes: at most a quarter of the queue."""
    return max(1, min(BURST, int(queue_size) // 4)) if queue_size.strip().isdigit() else BURST
