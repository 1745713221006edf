"""When buyers come, as words: "quiet 3@200, opening 1@200..9000, rush 4@9000, tail 6@9000..300". Pure.

Segments, by commas: perhaps a name, then SECONDS@RATE or SECONDS@RATE..RATE, in arrivals a second.
"""

import re
from dataclasses import dataclass

SEGMENT = re.compile(r"\s*(?:([a-z][a-z0-9_-]*)\s+)?(\d+(?:\.\d+)?)@(\d+(?:\.\d+)?)(?:\.\.(\d+(?:\.\d+)?))?\s*")
SEGMENTS_MAX = 64
SECONDS_MAX = 3000


class ScheduleError(Exception):
    """It is not a schedule; the text says where."""


@dataclass(frozen=True)
class Segment:
    name: str
    seconds: float
    rate_begin: float
    rate_end: float

    @property
    def arrivals(self):
        return self.seconds * (self.rate_begin + self.rate_end) / 2


def parse(text):
    segments = []
    for part in text.split(","):
        found = SEGMENT.fullmatch(part)
        if not found or float(found[2]) <= 0:
            raise ScheduleError(f"not a segment: {part.strip()!r}; write for instance: opening 1@200..9000")
        begin = float(found[3])
        segments.append(Segment(found[1] or "", float(found[2]), begin, float(found[4]) if found[4] else begin))
    if len(segments) > SEGMENTS_MAX or sum(segment.seconds for segment in segments) > SECONDS_MAX:
        raise ScheduleError(f"at most {SEGMENTS_MAX} segments and {SECONDS_MAX} seconds")
    return segments


def opening(peak):
    """Quiet, an opening second, the rush, and a tail; the peak in arrivals a second."""
    low = max(1, round(peak / 50))
    return [Segment("quiet", 3, low, low), Segment("opening", 1, low, peak), Segment("rush", 4, peak, peak),
            Segment("tail", 6, peak, low)]


def steady(rate, seconds):
    return [Segment("steady", seconds, rate, rate)]


def lines(segments):
    """As loadtest/volley reads it."""
    return "".join(f"{segment.seconds:.6f} {segment.rate_begin:.3f} {segment.rate_end:.3f}\n" for segment in segments)


def expected(segments):
    return sum(segment.arrivals for segment in segments)


def expected_per_second(segments):
    """Arrivals in each second from the start; the last may be a part of one."""
    bounds, began = [], 0.0
    for segment in segments:
        bounds.append((began, segment))
        began += segment.seconds
    return [sum(arrivals_between(segment, start, second, second + 1) for start, segment in bounds)
            for second in range(int(-(-began // 1)))]


def arrivals_between(segment, start, since, until):
    since, until = max(0.0, since - start), min(segment.seconds, until - start)
    if until <= since:
        return 0.0
    slope = (segment.rate_end - segment.rate_begin) / segment.seconds
    return (until - since) * (segment.rate_begin + slope * (since + until) / 2)
