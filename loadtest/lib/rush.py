"""A steady rush: wrk with wrk/rush.lua for so many seconds, ended when every answer is in."""

import json
import os
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from . import crowd
from .crowd import CrowdError

ANSWER_WITHIN_S = 30
POLL_S = 0.02


@dataclass(frozen=True)
class Rush:
    url: str
    seconds: float
    connections: int
    threads: int
    kind: str         # get, buy, look, mixed; warm, warm_look: each item once before any is drawn
    name: str         # the path, the item, or what the names of many items begin with
    items: int = 1
    buyers: str = "b"  # what the buyers' names begin with; connections of different threads never share one
    orders: tuple = ()  # ids that a mixed crowd reads


@dataclass
class Answers:
    """What a closed loop heard; `good` are those up to 399."""

    issued: int = 0
    answered: int = 0
    refused: int = 0      # above 399
    broken: int = 0       # connections
    unheard: int = 0      # attempts without an answer
    seconds: float = 0.0  # first request to last answer
    latency_ms: dict = field(default_factory=dict)
    client_cpu_s: float = 0.0
    bought: int | None = None  # purchases among the issued; None: all are
    parts: list = field(default_factory=list)  # of each crowd, where there are several

    @property
    def good(self):
        return self.answered - self.refused

    @property
    def orders(self):
        """Good answers to purchases; at least so many, where reads are among the answers."""
        return self.good if self.bought is None else max(0, self.bought - self.refused - self.unheard)

    @property
    def per_s(self):
        return self.answered / self.seconds if self.seconds else 0.0


def command(rush):
    # wrk's own duration is only the bound for a service that no longer answers.
    duration = int(rush.seconds + ANSWER_WITHIN_S + 1)
    return ["wrk", "--threads", str(rush.threads), "--connections", str(rush.connections), "--duration",
            f"{duration}s", "--timeout", f"{ANSWER_WITHIN_S}s", "--script", str(crowd.SCRIPTS / "rush.lua"), rush.url,
            "--", rush.kind, rush.name, str(rush.items), rush.buyers, str(rush.seconds),
            str(rush.connections // rush.threads)]


def drive(rush):
    return drive_all([rush])


def drive_all(rushes):
    """Several crowds at once, each of its own wrk. Counts are added; a latency is that of the slowest crowd."""
    with ExitStack() as context:
        directories = [Path(context.enter_context(tempfile.TemporaryDirectory(prefix="holdfast-rush-")))
                       for _ in rushes]
        used, running = client_seconds(), []
        try:
            for rush, directory in zip(rushes, directories):
                (directory / "orders").write_text("\n".join(rush.orders))
                running.append(crowd.start(command(rush), directory))
            for wrk, directory, rush in zip(running, directories, rushes):
                wait_parked(wrk, directory, rush.threads)
        finally:
            for wrk in running:
                crowd.interrupt(wrk)
        parts = [read_answers(directory) for directory in directories]
        return together(parts, client_seconds() - used)


def together(parts, client_cpu_s):
    answers = Answers(client_cpu_s=client_cpu_s, parts=parts)
    for name in ("issued", "answered", "refused", "broken", "unheard"):
        setattr(answers, name, sum(getattr(part, name) for part in parts))
    bought = [part.bought for part in parts]
    answers.bought = None if None in bought else sum(bought)
    answers.seconds = max(part.seconds for part in parts)
    answers.latency_ms = {name: max(part.latency_ms[name] for part in parts) for name in parts[0].latency_ms}
    return answers


def wait_parked(wrk, directory, threads):
    while wrk.poll() is None and not all((directory / f"parked-{thread}").exists() for thread in range(threads)):
        time.sleep(POLL_S)


def client_seconds():
    """Processor time of children that have ended: of the load generators."""
    times = os.times()
    return times.children_user + times.children_system


def read_answers(directory):
    try:
        done = json.loads((directory / "done.json").read_text())
    except (OSError, ValueError):
        raise CrowdError("wrk ended without a result: " + (directory / "wrk.log").read_text()[-500:]) from None
    answers = Answers(issued=done["issued"], answered=done["answered"], refused=done["refused"],
                      broken=done["broken"], seconds=done["seconds"], latency_ms=done["latency_ms"],
                      bought=done.get("bought"))
    answers.unheard = max(0, answers.issued - answers.answered)
    if not answers.answered:
        raise CrowdError("nothing was answered")
    return answers
