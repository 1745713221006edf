"""A closed loop by h2load, which speaks HTTP/2 and HTTP/1.1. It sends one constant body, so one buyer buys it all."""

import json
import re
import socket
import subprocess
import tempfile
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

from . import rush
from .crowd import CrowdError
from .rush import Answers


@dataclass(frozen=True)
class Flood:
    url: str
    sku: str
    seconds: int
    connections: int
    streams: int  # at a time on each connection; 0: HTTP/1.1

    def command(self, body, log):
        protocol = ["-m", str(self.streams)] if self.streams else ["--h1"]
        return ["h2load", *protocol, "-t1", "-c", str(self.connections), "-D", str(self.seconds), "-d", str(body),
                "-H", "content-type: application/json", f"--log-file={log}", self.url + "/v1/orders"]

    @property
    def at_once(self):
        return self.connections * max(1, self.streams)


def drive(flood):
    with tempfile.TemporaryDirectory(prefix="holdfast-h2-") as directory:
        body, log = Path(directory) / "body", Path(directory) / "log"
        body.write_text(json.dumps({"sku": flood.sku, "buyer_id": "flood", "quantity": 1}))
        used = rush.client_seconds()
        try:
            done = subprocess.run(flood.command(body, log), capture_output=True, text=True, timeout=flood.seconds + 60)
        except subprocess.TimeoutExpired:
            raise CrowdError("h2load did not end") from None
        if done.returncode != 0:
            raise CrowdError(f"h2load failed: {(done.stderr or done.stdout).strip()[-500:]}")
        answers = parse_output(done.stdout)
        answers.client_cpu_s = rush.client_seconds() - used
        answers.latency_ms = parse_log(log.read_text())
        return answers


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))  # and empty SETTINGS
SETTINGS = 4


def speaks_http2(url):
    """Whether the service was told to offer HTTP/2: it answers the preface with SETTINGS."""
    parts = urllib.parse.urlsplit(url)
    try:
        with socket.create_connection((parts.hostname, parts.port), 5) as connection:
            connection.sendall(PREFACE)
            head = b""
            while len(head) < 4 and (more := connection.recv(9)):
                head += more
    except OSError:
        return False
    return len(head) >= 4 and head[3] == SETTINGS


def parse_output(text):
    finished = re.search(r"^finished in ([\d.]+)(us|ms|s|m|h)?,", text, re.M)
    requests = re.search(r"^requests: \d+ total, (\d+) started, (\d+) done, \d+ succeeded, \d+ failed, (\d+) errored,"
                         r" (\d+) timeout", text, re.M)
    statuses = re.search(r"^status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", text, re.M)
    if not (finished and requests and statuses):
        raise CrowdError(f"h2load said something else than expected: {text.strip()[-300:]}")
    started, answered, errored, late = (int(number) for number in requests.groups())
    refused = sum(int(number) for number in statuses.groups()[2:])
    unit = {"us": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600, None: 1}[finished[2]]
    return Answers(issued=started, answered=answered, refused=refused, broken=errored + late,
                   unheard=max(0, started - answered), seconds=float(finished[1]) * unit)


def parse_log(text):
    """Percentiles out of lines "started at us, status, microseconds"; failed streams have status -1."""
    times = sorted(int(line.split("\t")[2]) for line in text.splitlines() if line.split("\t")[1] != "-1")
    if not times:
        return {}
    return {name: times[min(len(times) - 1, int(len(times) * share))] / 1000
            for name, share in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999))}
