"""What orders cost in memory while they are taken over HTTP, under `accepted`, so that many wait in Redis at a time.

At its most that gives the bytes of an order that is unsettled; when all are settled, what has stayed is the item's table
of buyers. The growth of the service counts from after a warm-up of a tenth of the orders (at least one second).
"""

import threading
import time

from . import audit, machine, rush, sale, tally
from .stack import StackError, parse_answers

TURN_S = 10
LOOK_EVERY_S = 0.25
RSS_FROM = 1_000_000  # orders from which the bound of the growth holds


class Redis:
    """Sizes of one item's keys."""

    def __init__(self, stack, target):
        self.stack = stack
        (_, row), = tally.read_rows(stack, target)
        self.unsettled_key = f"hf:{{{row.slot}}}:unsettled"
        self.buyers_key = f"hf:{{{row.slot}}}:buyers:{target.name}:{row.bucket}"

    def entries(self, key):
        """None: Redis answers with an error; it may be busy with a long call."""
        answer, = self.stack.redis("HLEN", key)
        return int(answer) if answer.isdigit() else None

    def size(self, key):
        """(entries, bytes)"""
        count, used = self.stack.redis(commands=f"HLEN {key}\nMEMORY USAGE {key} SAMPLES 0\n")
        return int(count), int(used or 0)

    def used(self):
        line, = (line for line in self.stack.redis("INFO", "memory") if line.startswith("used_memory:"))
        return int(line.partition(":")[2])


class Watcher:
    """The greatest number of unsettled orders that was seen, with its bytes."""

    def __init__(self, redis):
        self.redis, self.most, self.failure = redis, (0, 0), None
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._look)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()

    def _look(self):
        while not self.stop.wait(LOOK_EVERY_S):
            try:
                self.most = max(self.most, self.redis.size(self.redis.unsettled_key))
            except StackError as error:
                self.failure = str(error)


def take_orders(stack, target, orders, arguments, word):
    """Until so many were given; how many they are."""
    given = turn = 0
    while given < orders:
        before = parse_answers(stack.metrics())
        answers = rush.drive(rush.Rush(stack.url, TURN_S if orders - given > 50_000 else 1, arguments.connections,
                                       arguments.threads, "buy", target.name, 1, f"{word}{turn}-"))
        now = parse_answers(stack.metrics())
        target.told({status: count - before.get(status, 0) for status, count in now.items()}, answers.good,
                    answers.unheard)
        given, turn = given + answers.good, turn + 1
        print(f"  {given:>10,} of {orders:,} orders, {answers.good / answers.seconds:,.0f}/s, service"
              f" {resident(stack) / 2**20:,.1f} MB", flush=True)
    return given


def resident(stack, field="VmRSS"):
    return sum(machine.resident_bytes(pid, field) for pid in stack.pids["service"])


def measure(stack, arguments):
    terms = {"total": 900_000_000, "per_buyer_limit": 1, "hold_seconds": 0, "strategy": "lua",
             "acknowledge": "accepted"}
    target = tally.Target(sale.fresh_sku("memory"), terms)
    stack.put_item(target.name, terms)
    redis = Redis(stack, target)
    empty = redis.used()
    with Watcher(redis) as watcher:
        given = take_orders(stack, target, max(1, arguments.taken // 10), arguments, "w")
        tally.settle(stack, target)
        began = resident(stack)
        given += take_orders(stack, target, arguments.taken, arguments, "b")
        ended = resident(stack)
    gate = tally.settle(stack, target)
    time.sleep(1)
    rested = resident(stack)
    findings = tally.examine(audit.patiently(lambda: tally.read(stack, target)), gate, target)
    buyers, buyers_bytes = redis.size(redis.buyers_key)
    unsettled, unsettled_bytes = watcher.most
    return {
        "orders": given, "rss_before_mb": round(began / 2**20, 1), "rss_after_mb": round(ended / 2**20, 1),
        "rss_rested_mb": round(rested / 2**20, 1), "rss_growth_mb": round((max(ended, rested) - began) / 2**20, 1),
        "unsettled_most": unsettled, "bytes_per_unsettled": round(unsettled_bytes / unsettled, 1) if unsettled else None,
        "buyers": buyers, "bytes_per_buyer": round(buyers_bytes / buyers, 1) if buyers else None,
        "redis_growth_mb": round((redis.used() - empty) / 2**20, 1),
        "not_looked_at": watcher.failure, "audit": {name: value for name, value in findings.wrong().items()},
    }
