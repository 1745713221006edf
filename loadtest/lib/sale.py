"""One sale from its item to its verdict: what spike does once and compare many times."""

import json
import os
import random
import tempfile
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime, timezone

from . import audit
from . import crowd as crowds
from .machine import CpuMeter
from .stack import STRATEGIES, StackError


@dataclass
class Toggler:
    """Changes the item's strategy round robin while the crowd runs, and puts the first one back at the end."""

    stack: object
    sku: str
    strategy: str
    every_s: float
    done: int = 0
    failures: list = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self):
        self._thread = threading.Thread(target=self._run, daemon=True)
        if self.every_s:
            self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        if self.every_s:
            self._thread.join()
            self._change(self.strategy)

    def _run(self):
        turn = STRATEGIES.index(self.strategy)
        while not self._stop.wait(self.every_s):
            turn = (turn + 1) % len(STRATEGIES)
            self.done += self._change(STRATEGIES[turn])

    def _change(self, strategy):
        taken, sentence = self.stack.patch_item(self.sku, {"strategy": strategy})
        if not taken:
            self.failures.append(sentence)
        return taken


@dataclass
class Outcome:
    """Everything known of one sale."""

    plan: crowds.Plan
    terms: dict
    crowd: crowds.Crowd
    findings: audit.Findings
    aborts: int | None   # None: the service does not tell
    retries: int | None
    cpu: dict
    toggles: int = 0
    toggle_failures: list = field(default_factory=list)

    @property
    def requests_per_s(self):
        return self.crowd.answered / self.crowd.seconds if self.crowd.seconds else 0.0

    @property
    def orders_per_s(self):
        seconds = self.crowd.seconds_to_last_201
        return self.crowd.accepted / seconds if seconds else 0.0

    @property
    def sold_out_per_s(self):
        """Of the time after the last unit went."""
        seconds = self.crowd.seconds - self.crowd.seconds_to_last_201
        return self.crowd.sold_out / seconds if seconds > 0 else 0.0

    def faults(self):
        """What was wrong with the run itself, beside what the audit found: sentences."""
        faults = [f"{count} x {kind}" for kind, count in self.crowd.errors.items()]
        if self.crowd.ended in ("stalled", "gone"):
            faults.append("the service stopped answering")
        faults += [f"toggle: {failure}" for failure in self.toggle_failures[:3]]
        return faults

    def passed(self):
        return not self.findings.wrong() and not self.faults()

    def as_json(self):
        """The load-test result, as others read it; what was added later stands at the end."""
        found, heard = self.findings, self.crowd
        return {
            "strategy": self.terms["strategy"],
            "stock": self.terms["total"],
            "buyers": self.plan.buyers,
            "seconds": round(heard.seconds, 3),
            "requests": heard.answered,
            "accepted": heard.accepted,
            "sold_out": heard.sold_out,
            "refused": sum(heard.refused.values()),
            "errors": sum(heard.errors.values()),
            "requests_per_s": round(self.requests_per_s, 1),
            "orders_per_s": round(self.orders_per_s, 1),
            "latency_ms": heard.latency_ms,
            "aborts": self.aborts or 0,
            "retries": self.retries or 0,
            "audit": {
                "oversold": found.oversold,
                "lost": found.lost,
                "duplicated": found.duplicated,
                "drift": found.drift,
                "unbalanced": found.unbalanced,
                "undecided": found.undecided,
                "refused_live": found.refused_live,
                "unsold": found.unsold,
            },
            "passed": self.passed(),
            "sku": self.plan.sku,
            "connections": self.plan.connections,
            "threads": self.plan.threads,
            "attempts": heard.issued,
            "accepted_later": heard.later,
            "accepted_later_live": found.later_live,
            "unanswered": heard.unanswered,
            "ended": heard.ended,
            "live_orders": found.live_orders,
            "live_units": found.live_units,
            "refused_by_code": heard.refused,
            "errors_by_kind": heard.errors,
            "toggles": self.toggles,
            **self.cpu,
        }


def fresh_sku(word):
    return f"{word}-{time.strftime('%Y%m%d-%H%M%S')}-{random.randrange(16**4):04x}"


def default_threads(connections):
    """Half the cores are left to the service and its servers; every thread gets equally many connections."""
    threads = max(1, min((os.cpu_count() or 1) // 2, connections))
    while connections % threads:
        threads -= 1
    return threads


def find_item(stack, sku):
    """An item that somebody has put on sale, as the public API tells it."""
    status, body = stack.get("/v1/items/" + sku)
    if status == 404:
        raise StackError(f"there is no item {sku}: put it on sale first, or leave out --sku for an item of our own")
    if status != 200:
        raise StackError(f"GET of item {sku} was answered {status}: {body.strip()[:300]}")
    return json.loads(body)


def terms_of(item, quantity, now):
    """Its terms for a crowd that comes at `now`; StackError if none of the crowd could buy. Pure.

    Times are RFC 3339 in UTC with milliseconds, so they compare as text.
    """
    sku, limit = item["sku"], item["per_buyer_limit"]
    if 0 < limit < quantity:
        raise StackError(f"a buyer may have at most {limit} of item {sku}, so nobody could buy {quantity}")
    if item["starts_at"] and item["starts_at"] > now:
        raise StackError(f"the sale of item {sku} starts at {item['starts_at']}; now it is {now}")
    if item["ends_at"] and item["ends_at"] <= now:
        raise StackError(f"the sale of item {sku} ended at {item['ends_at']}; now it is {now}")
    names = ("total", "per_buyer_limit", "hold_seconds", "strategy")
    return {name: item[name] for name in names} | {"quantity": quantity}


def now_text():
    now = datetime.now(timezone.utc)
    return f"{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03d}Z"


def hold(stack, terms, plan, on_progress, toggle_s=0, earlier=None):
    """Sends the crowd, audits: the Outcome. StackError and CrowdError when it cannot be done.

    `earlier`: the ids of the item's orders; None if the item is not there and is to be made.
    """
    if earlier is None:
        stack.put_item(plan.sku, {name: value for name, value in terms.items() if name != "quantity"})
    before, meter = stack.counters(), CpuMeter()
    with tempfile.TemporaryDirectory(prefix="holdfast-crowd-") as directory:
        with Toggler(stack, plan.sku, terms["strategy"], toggle_s) as toggler:
            crowd = crowds.drive(plan, directory, on_progress)
    cpu = meter.read()
    try:
        findings = audit.take(stack, plan.sku, crowd, terms, frozenset(earlier or ()))
    except StackError as error:
        raise StackError(f"{error}. The crowd had been answered {crowd.answered:,} times,"
                         f" {crowd.accepted:,} of them 201") from None
    counted = STRATEGIES if toggle_s else (terms["strategy"],)
    aborts, retries = (grown(before, stack.counters(), name, counted) for name in ("aborts", "retries"))
    return Outcome(plan, terms, crowd, findings, aborts, retries, cpu, toggler.done, toggler.failures)


def grown(before, after, name, strategies):
    """By how much the strategies' counter grew; None when the service has no such counter."""
    keys = [(name, strategy) for strategy in strategies if (name, strategy) in after]
    if not keys:
        return None
    return sum(max(0, after[key] - before.get(key, 0)) for key in keys)
