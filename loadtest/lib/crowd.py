"""The crowd: wrk with wrk/opening.lua, watched while it runs and stopped when every answer is in."""

import json
import os
import signal
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[1] / "wrk"
POLL_S = 0.05
STOP_S = 5          # how long wrk may take to end once interrupted
LOST_ANSWERS_S = 2  # nothing more is sent, and for so long no answer has come: none will
SLOW_ANSWER_S = 5   # the time is up, and for so long no answer has come: it is not just slow
STALLED_S = 15      # no answer at all for so long: the service is gone or hangs
ANSWER_WITHIN_S = 30  # a later answer counts as an error (wrk's --timeout)


class CrowdError(Exception):
    """wrk itself did not do its work."""


@dataclass(frozen=True)
class Plan:
    url: str
    sku: str
    buyers: int
    seconds: int
    connections: int
    threads: int
    quantity: int = 1
    word: str = ""  # what the buyers' names begin with; the sku if empty


@dataclass
class Progress:
    """What the threads' progress files say, summed."""

    share: int = 0
    issued: int = 0
    answered: int = 0
    accepted: int = 0
    sold_out: int = 0
    parked: int = 0
    gave_up: int = 0  # threads


@dataclass
class Crowd:
    """What the crowd did and heard."""

    ended: str = ""  # answered, time, lost answers, gone, stalled, interrupted
    issued: int = 0
    answered: int = 0
    accepted: int = 0
    later: int = 0
    sold_out: int = 0
    refused: dict = field(default_factory=dict)  # other 409 and 429: "409 sale_ended" -> count
    errors: dict = field(default_factory=dict)   # kind -> count, none of them 0
    server_errors: int = 0
    unsent: int = 0
    seconds: float = 0.0           # first request to last answer
    seconds_to_last_201: float = 0.0
    latency_ms: dict = field(default_factory=dict)
    answered_201: list = field(default_factory=list)  # order ids, in the order of their answers
    answered_202: list = field(default_factory=list)

    @property
    def unanswered(self):
        return self.issued - self.answered


def command(plan):
    return ["wrk", "--threads", str(plan.threads), "--connections", str(plan.connections),
            "--duration", f"{plan.seconds}s", "--timeout", f"{ANSWER_WITHIN_S}s", "--script",
            str(SCRIPTS / "opening.lua"), plan.url, "--",
            plan.sku, str(plan.quantity), str(plan.buyers), str(plan.threads), str(plan.connections),
            plan.word or plan.sku]


def drive(plan, directory, on_progress, stop=None):
    """Sends the crowd and returns the Crowd. on_progress(elapsed_s, Progress) is called at each look.

    stop, a threading.Event, ends the crowd early; so does a KeyboardInterrupt, which is not passed on:
    the result says "interrupted".
    """
    wrk = start(command(plan), directory)
    try:
        ended = watch(wrk, plan, directory, on_progress, stop or threading.Event())
    except KeyboardInterrupt:
        ended = "interrupted"
    finally:
        interrupt(wrk)
    return gather(plan, directory, ended)


def start(arguments, directory):
    """In a session of its own: a ctrl-C at the terminal is for us, and we then stop wrk ourselves."""
    with open(Path(directory) / "wrk.log", "w") as log:
        return subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                                env=os.environ | {"HOLDFAST_CROWD_DIR": str(directory)})


def interrupt(wrk):
    """Has wrk end and write its results. It ignores signals in its first moments, so we repeat ourselves."""
    deadline = time.monotonic() + STOP_S
    while wrk.poll() is None and time.monotonic() < deadline:
        wrk.send_signal(signal.SIGINT)
        try:
            wrk.wait(0.1)
        except subprocess.TimeoutExpired:
            pass
    if wrk.poll() is None:
        wrk.kill()
        wrk.wait()


def watch(wrk, plan, directory, on_progress, stop):
    """Looks at the crowd until it should end, or wrk has ended by its own clock; says which."""
    began = moved_at = time.monotonic()
    answered = 0
    while wrk.poll() is None:
        now = time.monotonic()
        seen = read_progress(directory, plan.threads)
        if seen.answered != answered:
            answered, moved_at = seen.answered, now
        on_progress(now - began, seen)
        ended = why_end(seen, plan, now - moved_at)
        if ended or stop.is_set():
            return ended or "interrupted"
        time.sleep(POLL_S)
    if answered == 0 or (answered < plan.buyers and time.monotonic() - moved_at >= SLOW_ANSWER_S):
        return "stalled"
    return "time"


def why_end(seen, plan, idle_s):
    """Why the crowd should end now, or None. Pure."""
    if seen.share == plan.buyers == seen.answered:
        return "answered"
    if seen.gave_up and idle_s >= LOST_ANSWERS_S:
        return "gone"
    all_parked = seen.issued == plan.buyers and seen.parked >= plan.connections
    if all_parked and idle_s >= LOST_ANSWERS_S:
        return "lost answers"
    if idle_s >= STALLED_S:
        return "stalled"
    return None


def read_progress(directory, threads):
    total = Progress()
    for thread in range(threads):
        numbers = last_line(Path(directory) / f"progress-{thread}")
        for name, number in zip(Progress.__dataclass_fields__, numbers):
            setattr(total, name, getattr(total, name) + number)
    return total


def last_line(path):
    """The numbers of the last whole line, or none."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 512))
            lines = file.read().split(b"\n")
    except FileNotFoundError:
        return []
    return [int(word) for word in lines[-2].split()] if len(lines) > 1 else []


def gather(plan, directory, ended):
    """The Crowd out of what wrk's script wrote."""
    directory = Path(directory)
    try:
        done = json.loads((directory / "done.json").read_text())
    except (OSError, ValueError):
        log = (directory / "wrk.log").read_text().strip()
        raise CrowdError(f"wrk ended without a result; it said: {log[-500:] or 'nothing'}") from None
    crowd = Crowd(ended=ended, latency_ms={name: round(done["latency_ms"][name], 3) for name in ("p50", "p99", "p999")})
    tallies = [thread["tally"] for thread in done["threads"]]
    for name in ("issued", "answered", "accepted", "later", "sold_out"):
        setattr(crowd, name, int(sum(tally[name] for tally in tallies)))
    for thread in done["threads"]:
        sort_answers(crowd, thread["answers"])
    add_errors(crowd, done["errors"], tallies, plan)
    measure_time(crowd, tallies)
    read_order_ids(crowd, directory, plan.threads)
    if crowd.ended == "time" and crowd.answered == plan.buyers:
        crowd.ended = "answered"
    return crowd


def sort_answers(crowd, answers):
    """Only what the sale itself may say to a well-formed attempt is a refusal; the rest is an error."""
    for answer, count in answers.items():
        count = int(count)
        if answer in ("201", "202", "409 sold_out"):
            continue
        if answer.startswith(("409 ", "429 ")):
            crowd.refused[answer] = crowd.refused.get(answer, 0) + count
            continue
        add_error(crowd, answer, count)
        if answer.startswith("5"):
            crowd.server_errors += count


def add_error(crowd, kind, count):
    if count > 0:
        crowd.errors[kind] = crowd.errors.get(kind, 0) + count


def add_errors(crowd, wrk_errors, tallies, plan):
    """An attempt that will never be answered is an error; one that was under way when the time was up is none.

    wrk's read errors are connections that broke before their answer, but also those that the server closed
    while they were parked. Its write errors are, nearly all, attempts that found nobody to connect to: those
    buyers did not come. (A few may have been read before the connection was reset; the audit minds that.)
    """
    read, write = int(wrk_errors["read"]), int(wrk_errors["write"])
    closed_idle = max(0, int(sum(tally["parked"] for tally in tallies)) - plan.connections - write)
    broken = min(crowd.unanswered, max(0, read - closed_idle))
    unsent = min(crowd.unanswered - broken, write)
    crowd.unsent = unsent
    crowd.issued -= unsent
    under_way = crowd.ended in ("time", "interrupted")
    add_error(crowd, "no answer", broken if under_way else crowd.unanswered)
    add_error(crowd, "could not be sent", unsent)
    add_error(crowd, "no connection", int(wrk_errors["connect"]))
    add_error(crowd, f"later than {ANSWER_WITHIN_S} s", int(wrk_errors["timeout"]))
    add_error(crowd, "order without an id", int(sum(tally["malformed"] for tally in tallies)))


def measure_time(crowd, tallies):
    starts = [tally["first_at"] for tally in tallies if tally["first_at"]]
    if not starts:
        return
    began = min(starts)
    crowd.seconds = max(0.0, max(tally["last_answer_at"] for tally in tallies) - began)
    crowd.seconds_to_last_201 = max(0.0, max(tally["last_accepted_at"] for tally in tallies) - began)


def read_order_ids(crowd, directory, threads):
    lists = {"201": crowd.answered_201, "202": crowd.answered_202}
    for thread in range(threads):
        for line in (directory / f"orders-{thread}").read_text().splitlines():
            status, order_id = line.split()
            lists[status].append(order_id.lower())
