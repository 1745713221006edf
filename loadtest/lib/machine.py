"""The machine under test: what it is, and how much of it others took while a run lasted."""

import os
import platform
from pathlib import Path

# Fields of the first line of /proc/stat, after "cpu".
IDLE, IOWAIT, STEAL = 3, 4, 7


def describe():
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {"cores": os.cpu_count(), "model": model, "kernel": platform.release()}


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
