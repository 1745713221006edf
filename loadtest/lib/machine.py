"""The machine under test: what it is, what others took of it while a run lasted, and what our processes used."""

import os
import platform
import re
import shutil
import subprocess
import time
from pathlib import Path

# Fields of the first line of /proc/stat, after "cpu".
IDLE, IOWAIT, STEAL = 3, 4, 7
TICKS_PER_S = os.sysconf("SC_CLK_TCK")

VERSION_COMMANDS = {
    "redis": ["redis-server", "--version"],
    "mariadb": ["mariadbd", "--version"],
    "wrk": ["wrk", "-v"],
    "h2load": ["h2load", "--version"],
    "libh2o": ["dpkg-query", "-W", "-f", "${Version}", "libh2o-evloop-dev"],
}


ROOT = Path(__file__).resolve().parents[2]


class ProcessGone(Exception):
    """A process whose time was being counted has ended."""


def describe():
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {"cores": os.cpu_count(), "model": model, "kernel": platform.release(),
            "versions": {name: ask_version(command) for name, command in VERSION_COMMANDS.items()}}


def commit():
    """Of this tree; "-dirty" behind it where files differ from it."""
    if not shutil.which("git"):
        return "unknown"
    done = subprocess.run(["git", "-C", str(ROOT), "describe", "--always", "--dirty"], capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def stamp():
    """What a result says of where and when it was taken."""
    return {"machine": describe(), "commit": commit(), "taken_at": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())}


def ask_version(command, environment=None):
    """The first thing that looks like a version in what a program says of itself."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, env=environment)
    except (OSError, subprocess.TimeoutExpired):
        return "not installed"
    return parse_version(done.stdout + done.stderr)


def parse_version(text):
    found = re.search(r"\d+\.\d+(\.\d+)?", text)
    return found[0] if found else "unknown"


class CpuMeter:
    """Shares of all cores' time since it was made, in percent."""

    def __init__(self):
        self.start = _ticks()

    def read(self):
        passed = [now - then for now, then in zip(_ticks(), self.start)]
        total = max(1, sum(passed))
        return {
            "busy_percent": round(100 * (1 - (passed[IDLE] + passed[IOWAIT]) / total), 1),
            "steal_percent": round(100 * passed[STEAL] / total, 1),
        }


def _ticks():
    """user, nice, system, idle, iowait, irq, softirq, steal. Guest time, which follows, is already in user."""
    return [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]


class ProcessMeter:
    """Processor seconds, user and system of all threads, that groups of processes used since it was made."""

    def __init__(self, groups):
        self.groups = groups
        self.start = {pid: process_seconds(pid, group) for group, pids in groups.items() for pid in pids}

    def read(self):
        return {group: sum(process_seconds(pid, group) - self.start[pid] for pid in pids)
                for group, pids in self.groups.items()}


def process_seconds(pid, group):
    try:
        return parse_process_ticks(Path(f"/proc/{pid}/stat").read_text()) / TICKS_PER_S
    except (FileNotFoundError, ProcessLookupError):
        raise ProcessGone(f"process {pid} ({group}) has ended") from None


def parse_process_ticks(stat):
    """User and system time of all threads. The name, in parentheses, may hold spaces and parentheses itself."""
    fields = stat.rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def children(pid):
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]


def resident_bytes(pid, field="VmRSS"):
    """Now; with "VmHWM" the most that there was since the process began."""
    found = re.search(rf"^{field}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.M)
    if not found:
        raise ProcessGone(f"process {pid} has ended")
    return int(found[1]) * 1024
