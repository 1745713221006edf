"""Waits until a stack is at rest: nothing is left to do of what was measured before, and nothing uses the processor."""

import time

from .machine import ProcessMeter
from .stack import parse_metric

WITHIN_S = 15
LOOK_S = 0.25
CORES_MOST = 0.15  # of the service, Redis and MariaDB together: background work of a quiet stack takes less
QUEUES = ("holdfast_purchases_in_flight", "holdfast_writer_queue_orders", "holdfast_pool_queue_jobs")


def at_work(metrics, cores, kept=0):
    """What is still at work, in words; empty if nothing is but so many orders that are kept on purpose. Pure."""
    queued = [f"{name.removeprefix('holdfast_')} {value:,.0f}" for name in QUEUES
              if (value := parse_metric(metrics, name) or 0) > kept]
    return ", ".join(queued + ([f"{cores:.2f} cores"] if cores > CORES_MOST else []))


def wait(stack, kept=0, within_s=WITHIN_S):
    """What was still at work when the time was up, in words; empty if the stack is at rest."""
    deadline = time.monotonic() + within_s
    while True:
        meter, began = ProcessMeter(stack.pids), time.monotonic()
        time.sleep(LOOK_S)
        cores = sum(meter.read().values()) / (time.monotonic() - began)
        left = at_work(stack.metrics(), cores, kept)
        if not left or time.monotonic() >= deadline:
            return left
