"""What a person reads: the progress lines, and the report after the sale."""

import sys


class Line:
    """One line that is rewritten on a terminal; elsewhere a line each `every_s` seconds."""

    def __init__(self, every_s, stream):
        self.stream = stream or sys.stdout
        self.rewrites = self.stream.isatty()
        self.every_s = 0.2 if self.rewrites else every_s
        self.next_s = self.every_s

    def due(self, elapsed_s):
        if elapsed_s < self.next_s:
            return False
        self.next_s = elapsed_s + self.every_s
        return True

    def show(self, line):
        self.stream.write("\r\033[K" + line if self.rewrites else line + "\n")
        self.stream.flush()

    def close(self):
        if self.rewrites:
            self.stream.write("\r\033[K")
            self.stream.flush()


class ProgressLine(Line):
    """Of a crowd."""

    def __init__(self, plan, stream=None):
        super().__init__(1.0, stream)
        self.plan = plan
        self.last = (0.0, 0)

    def __call__(self, elapsed_s, seen):
        if not self.due(elapsed_s):
            return
        since, before = self.last
        rate = (seen.answered - before) / max(0.001, elapsed_s - since)
        self.last = (elapsed_s, seen.answered)
        others = seen.answered - seen.accepted - seen.sold_out
        self.show(f"  {elapsed_s:6.1f} s  {seen.answered:>10,} of {self.plan.buyers:,} answered  {rate:>8,.0f}/s"
                  f"  {seen.accepted:>9,} accepted  {seen.sold_out:>9,} sold out  {others:,} others")


class OpenProgressLine(Line):
    """Of an open loop whose buyers come for so many seconds."""

    def __init__(self, seconds, stream=None):
        super().__init__(3.0, stream)
        self.seconds = seconds

    def __call__(self, elapsed_s, seen):
        if self.due(elapsed_s):
            self.show(f"  {elapsed_s:6.1f} of {self.seconds:g} s  {seen.attempts:>9,} attempts"
                      f"  {seen.answered:>9,} answered  {seen.orders:>9,} orders")


ENDINGS = {
    "answered": "every buyer came and was answered",
    "time": "the time was up before every buyer had come",
    "lost answers": "answers that did not come were given up",
    "gone": "the service went away",
    "stalled": "the service stopped answering",
    "interrupted": "interrupted",
}

AUDIT = (
    ("oversold", "live units beyond the stock"),
    ("lost", "answered 201, not live in MySQL"),
    ("duplicated", "ids answered twice, buyers with too much"),
    ("drift", "units between Redis and MySQL"),
    ("unbalanced", "units between inventory and its orders"),
    ("undecided", "answered 202, in no state in MySQL"),
    ("refused_live", "live orders of buyers who were told no"),
    ("unsold", "units left though buyers were refused"),
)


def count(number):
    return "not told" if number is None else f"{number:,}"


def rows(*pairs):
    """Aligned lines: a label, a number, perhaps a remark."""
    return [f"  {label:<24}{value:>12}  {remark}".rstrip() for label, value, remark in pairs]


def render(outcome):
    heard, found, plan = outcome.crowd, outcome.findings, outcome.plan
    lines = ["The crowd"]
    lines += rows(("buyers who came", count(heard.issued), f"of {plan.buyers:,}: {ENDINGS[heard.ended]}"),
                  ("answered", count(heard.answered), f"in {heard.seconds:.2f} s"))
    if heard.unanswered:
        lines += rows(("not answered", count(heard.unanswered), "under way at the end, or lost"))
    if outcome.toggles:
        lines += rows(("changes of strategy", count(outcome.toggles), "while it ran"))
    lines += ["", "Answers", *answer_rows(heard, found), "", "Speed", *speed_rows(outcome)]
    lines += ["", "Audit of MySQL and Redis"]
    lines += rows(("live in MySQL", count(found.live_units), f"units of {outcome.terms['total']:,}, "
                   f"in {found.live_orders:,} orders"))
    for name, meaning in AUDIT:
        number = getattr(found, name)
        lines += rows((name, count(number), ("" if number == 0 else "WRONG: ") + meaning))
    lines += ["  " + note for note in found.notes]
    return "\n".join(lines + ["", verdict(outcome)])


def answer_rows(heard, found):
    pairs = [("201 accepted", count(heard.accepted), "")]
    if heard.later:
        pairs.append(("202 accepted later", count(heard.later), f"{found.later_live:,} live in the end"))
    pairs.append(("409 sold_out", count(heard.sold_out), ""))
    pairs += [(kind, count(number), "") for kind, number in sorted(heard.refused.items())]
    pairs += [(kind, count(number), "error") for kind, number in sorted(heard.errors.items())]
    return rows(*pairs)


def speed_rows(outcome):
    heard = outcome.crowd
    sold_in = f"the last 201 after {heard.seconds_to_last_201:.3f} s" if heard.accepted else ""
    latency = [(f"latency {name} ms", f"{heard.latency_ms[key]:,.2f}", "")
               for name, key in (("p50", "p50"), ("p99", "p99"), ("p99.9", "p999"))]
    steal = outcome.cpu["steal_percent"]
    return rows(("answers/s", f"{outcome.requests_per_s:,.0f}", ""),
                ("committed orders/s", f"{outcome.orders_per_s:,.0f}", sold_in),
                *latency,
                ("aborts", count(outcome.aborts), ""),
                ("retries", count(outcome.retries), ""),
                ("cores busy", f"{outcome.cpu['busy_percent']:.0f} %", f"{steal} % steal"))


def verdict(outcome):
    found, wrong, faults = outcome.findings, outcome.findings.wrong(), outcome.faults()
    if wrong or faults:
        causes = [f"{name} {'cannot be told' if number is None else format(number, ',')}"
                  for name, number in wrong.items()] + faults
        return "FAIL: " + "; ".join(causes)
    sentence = f"PASS: {found.live_units:,} of {outcome.terms['total']:,} units sold, none twice, none lost"
    if outcome.crowd.ended == "interrupted":
        sentence += " (as far as it went: it was interrupted)"
    elif outcome.crowd.ended == "time":
        sentence += f" (but only {outcome.crowd.issued:,} of {outcome.plan.buyers:,} buyers came in the time)"
    return sentence
