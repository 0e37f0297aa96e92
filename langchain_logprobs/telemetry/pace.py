"""How fast token spans may come: no faster than the queues behind can take them.

A `BatchSpanProcessor` holds 2,048 spans and then drops the oldest, whoever's they are. Half of that
is left to the application. Where a queue can be looked into, its own thread empties it in its own
time; `force_flush()` would go on for as long as the application starts spans. It is only for
processors that cannot be looked into.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from queue import Queue
from typing import Any

from opentelemetry.sdk.environment_variables import OTEL_BSP_MAX_QUEUE_SIZE
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

SLICE = 64
"""Token spans between two rests of the worker."""
BURST = 512
"""Token spans between two flushes, where there is no other way: a batch."""


@dataclass(slots=True)
class Pace:
    """Whether there is room for more token spans.

    Attributes:
        queues: Those that fill; `None` if a processor may have one that cannot be seen.
        tasks: What exporters have still to do, and drop when that is too much.
        flush: Empties them, however long that takes.
        burst: Spans between two flushes.
        since: Spans since the last.
    """

    queues: list[deque[Any]] | None
    flush: Callable[[], object]
    tasks: Sequence[Queue[Any]] = ()
    burst: int = BURST
    since: int = 0

    def has_room(self) -> bool:
        """Whether a slice may be handed over now."""
        if any(tasks.qsize() + SLICE > tasks.maxsize // 2 for tasks in self.tasks):
            return False
        if self.queues is not None:
            return all(len(queue) + SLICE <= _share(queue) for queue in self.queues)
        if self.since + SLICE > self.burst:
            self.since = 0
            self.flush()
        return True


def pace_of(provider: object) -> Pace:
    """The pace at which a provider takes spans."""
    active = getattr(provider, "_active_span_processor", None)
    return Pace(
        queues=_queues(active),
        flush=getattr(provider, "force_flush", lambda: None),
        tasks=[] if active is None else [*filter(None, map(_tasks, processors(active)))],
        burst=_burst(os.environ.get(OTEL_BSP_MAX_QUEUE_SIZE, "")),
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
    processor = getattr(processor, "_batch_delegate", None) or processor  # MLflow's has one inside
    batch = getattr(processor, "_batch_processor", None)
    queue, size = getattr(batch, "_queue", None), getattr(batch, "_max_export_batch_size", None)
    if isinstance(queue, deque) and isinstance(size, int) and size + SLICE <= _share(queue):
        return queue
    return None


def _tasks(processor: object) -> Queue[Any] | None:
    """The bounded queue of things to do that an exporter has, as MLflow's does."""
    exporter = getattr(processor, "span_exporter", None)
    tasks = getattr(getattr(exporter, "_async_queue", None), "_queue", None)
    return tasks if isinstance(tasks, Queue) and tasks.maxsize > 0 else None


def _share(queue: deque[Any]) -> int:
    return (queue.maxlen or 0) // 2


def _holds_nothing(processor: object) -> bool:
    """Whether a processor has nothing to flush."""
    flush = getattr(type(processor), "force_flush", None)
    return flush in {SpanProcessor.force_flush, SimpleSpanProcessor.force_flush}


def _burst(queue_size: str) -> int:
    """How many spans to hand over between two flushes: at most a quarter of the queue."""
    return min(BURST, int(queue_size) // 4) if queue_size.strip().isdigit() else BURST
