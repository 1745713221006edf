"""An open loop of purchases: runs loadtest/volley and reads what it wrote."""

import json
import subprocess
import tempfile
import threading
import urllib.parse
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from . import schedule
from .crowd import Crowd, CrowdError
from .rush import Answers
from .stack import ROOT

NO_ANSWER = ("no answer", "malformed answer")
NOT_SENT = "not sent"


@dataclass(frozen=True)
class Plan:
    url: str
    sku: str
    segments: tuple
    connections: int = 512
    seed: int = 1
    timeout_ms: int = 10000
    retries: int = 3
    retry_ms: int = 500
    bots: float = 0.0
    repeats: int = 3
    gap_ms: int = 50
    keyed: float = 0.5


@dataclass(frozen=True)
class Progress:
    """How far a run is."""

    attempts: int = 0  # that were due
    answered: int = 0
    orders: int = 0    # 201 and 202, replays left out


@dataclass
class Heard:
    """One run: volley's own words, and the orders it was given."""

    record: dict
    orders: list = field(default_factory=list)  # (status, order id, buyer)

    def count(self, kind):
        return self.record["kinds"].get(kind, {"count": 0})["count"]

    def latency(self, kind):
        return self.record["kinds"].get(kind, {"latency_us": []})["latency_us"]

    def with_status(self, digit):
        return [kind for kind in self.record["kinds"] if kind.startswith(digit)]


def binary(build_dir=None, option="", name="volley"):
    path = Path(build_dir or ROOT / "build") / name
    if not path.is_file():
        raise CrowdError(f"there is no {path}; build it with: deploy/up{option}")
    return path


def command(plan, program, orders):
    parts = urllib.parse.urlsplit(plan.url)
    host = "127.0.0.1" if parts.hostname == "localhost" else parts.hostname
    options = {"host": host, "port": parts.port, "sku": plan.sku, "orders": orders, "connections": plan.connections,
               "seed": plan.seed, "timeout-ms": plan.timeout_ms, "retries": plan.retries, "retry-ms": plan.retry_ms,
               "bots": plan.bots, "repeats": plan.repeats, "gap-ms": plan.gap_ms, "keyed": plan.keyed}
    return [str(program)] + [f"--{name}={value}" for name, value in options.items()]


def drive(plan, program=None, on_progress=None):
    """on_progress(elapsed_s, Progress) is called about once a second, and at the end."""
    limit_s = sum(segment.seconds for segment in plan.segments) + 60 + (plan.retries + 1) * (
        plan.timeout_ms + 2 * plan.retry_ms * (plan.retries + 1)) / 1000
    with tempfile.TemporaryDirectory(prefix="holdfast-volley-") as directory:
        orders, record = Path(directory) / "orders", Path(directory) / "record"
        run(command(plan, program or binary(), orders), schedule.lines(plan.segments), record, limit_s, on_progress)
        given = [tuple(line.split()) for line in orders.read_text().splitlines()]
        return Heard(json.loads(record.read_text()), given)


def run(words, lines, record, limit_s, on_progress):
    """Until it ends: the schedule on its standard input, its record to a file, its progress read meanwhile."""
    late = threading.Event()
    with open(record, "w") as out, subprocess.Popen(words, stdin=subprocess.PIPE, stdout=out, stderr=subprocess.PIPE,
                                                    text=True) as process:
        timer = threading.Timer(limit_s, lambda: (late.set(), process.kill()))
        timer.start()
        try:
            try:
                process.stdin.write(lines)
                process.stdin.close()
            except BrokenPipeError:
                pass  # it has ended, and says why
            said = read_progress(process.stderr, on_progress)
            process.wait()
        except BaseException:
            process.kill()
            raise
        finally:
            timer.cancel()
    if late.is_set():
        raise CrowdError(f"{Path(words[0]).name} did not end within {limit_s:.0f} s")
    if process.returncode != 0:
        raise CrowdError(f"{Path(words[0]).name} failed ({process.returncode}): {said.strip()[-500:]}")


def read_progress(stream, on_progress):
    """Hands on the lines that are progress; the others are what it returns."""
    others = ""
    for line in stream:
        word, *numbers = line.split() or [""]
        if word != "progress":
            others += line
        elif on_progress:
            on_progress(float(numbers[0]), Progress(*map(int, numbers[1:])))
    return others


def percentile(histogram, percent):
    """In milliseconds, of [[at_most_us, count], ...]: the value that so many percent do not exceed; None of nothing."""
    total = sum(count for _, count in histogram)
    needed, seen = total * percent / 100, 0
    for top_us, count in sorted(histogram):
        seen += count
        if seen >= needed and seen:
            return top_us / 1000
    return None


def merged(histograms):
    total = Counter()
    for histogram in histograms:
        for top_us, count in histogram:
            total[top_us] += count
    return sorted(total.items())


def crowd_of(heard):
    """What the audit needs, as one attempt a buyer: a bot's repeats and a retry are answered with the first order."""
    crowd = Crowd(ended="answered")
    first = {}
    for status, order_id, buyer in heard.orders:
        first.setdefault((order_id.lower(), buyer), status)
        if status == "201":  # 202 first, and then seen committed
            first[order_id.lower(), buyer] = status
    crowd.answered_201 = [order_id for (order_id, _), status in first.items() if status == "201"]
    crowd.answered_202 = [order_id for (order_id, _), status in first.items() if status == "202"]
    crowd.accepted, crowd.later = len(crowd.answered_201), len(crowd.answered_202)
    crowd.sold_out = heard.count("409 sold_out")
    crowd.answered = len(first) + crowd.sold_out
    crowd.issued = crowd.answered + sum(heard.count(kind) for kind in NO_ANSWER)
    crowd.server_errors = sum(heard.count(kind) for kind in heard.with_status("5"))
    return crowd


def as_answers(heard):
    """In the words of a closed loop; the percentiles are of the good answers, from the intended time."""
    record = heard.record
    good = merged(heard.latency(kind) for kind in heard.with_status("2"))
    answered = sum(heard.count(kind) for kind in record["kinds"] if kind[0].isdigit())
    latency = {name: percentile(good, share) or 0.0 for name, share in (("p50", 50), ("p99", 99), ("p999", 99.9))}
    if not answered:
        raise CrowdError("nothing was answered")
    return Answers(issued=record["attempts"] - heard.count(NOT_SENT), answered=answered,
                   refused=answered - sum(count for _, count in good), broken=record["connections_lost"],
                   unheard=sum(heard.count(kind) for kind in NO_ANSWER), seconds=record["seconds"],
                   latency_ms=latency, client_cpu_s=record["cpu_s"])
