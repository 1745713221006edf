"""A whole drop: runs loadtest/visitors and reads what it wrote; what the drop came to, as data and for people.

drive(), wait_for_holds() and unknown_moves() ask; the rest is pure.
"""

import json
import subprocess
import tempfile
import time
import urllib.parse
from dataclasses import asdict, dataclass, field
from pathlib import Path

from . import audit, volley
from .comparison import markdown_table
from .crowd import CrowdError
from .measures import audit_of
from .openreport import latencies, shown

ASKS = ("look", "buy", "wait", "confirm")
BUYERS_A_CONNECTION = 100  # as many streams as the service lets a connection have
EXPIRED_WITHIN_S = 10      # after the last hold's end
LOOK_EVERY_S = 0.2
# An id of the right form that nobody was given.
NO_ORDER = "/v1/orders/00000000-0000-7000-8000-000000000000"


@dataclass(frozen=True)
class Plan:
    url: str
    sku: str
    opens_at_ms: int
    buyers: int
    stock: int
    connections: int
    seconds: int            # after the opening
    seed: int = 1
    reaction_ms: int = 250
    think_ms: int = 1000
    wait_ms: int = 0        # 0: the service does not know it
    bots: float = 0.0
    repeats: int = 20
    keyed: float = 0.5
    conditional: float = 0.5
    abandon: float = 0.0


@dataclass
class Heard:
    """One run: visitors' own words, and what the buyers were told of orders."""

    result: dict
    orders: list = field(default_factory=list)  # (201, 202, held, confirmed or lapsed; order id; buyer)

    @property
    def record(self):
        return self.result["record"]

    def ids(self, word):
        return {order_id for told, order_id, _ in self.orders if told == word}

    def of(self, ask):
        """{answer: its record} of one kind of request."""
        return {name.partition(": ")[2]: told for name, told in self.record["kinds"].items()
                if name.startswith(ask + ": ")}


def connections_for(buyers):
    return max(1, -(-buyers // BUYERS_A_CONNECTION))


def command(plan, program, orders):
    parts = urllib.parse.urlsplit(plan.url)
    host = "127.0.0.1" if parts.hostname == "localhost" else parts.hostname
    given = {name.replace("_", "-"): value for name, value in asdict(plan).items() if name != "url"}
    options = {"host": host, "port": parts.port, "orders": orders} | given
    return [str(program)] + [f"--{name}={value}" for name, value in options.items()]


def drive(plan, program, on_progress=None):
    limit_s = max(0.0, plan.opens_at_ms / 1000 - time.time()) + plan.seconds + 120
    with tempfile.TemporaryDirectory(prefix="holdfast-drop-") as directory:
        orders, record = Path(directory) / "orders", Path(directory) / "record"
        volley.run(command(plan, program, orders), "", record, limit_s, on_progress)
        told = [tuple(line.split()) for line in orders.read_text().splitlines()]
        return Heard(json.loads(record.read_text()), [(word, order_id.lower(), buyer) for word, order_id, buyer in told])


def program(build_dir, option):
    path = Path(build_dir) / "visitors"
    if not path.is_file():
        raise CrowdError(f"there is no {path}; install libnghttp2-dev, then build it with: deploy/up{option}")
    return path


def knows_waits(stack):
    """Whether the service knows `wait_ms`; a parameter that it does not know is 400."""
    return stack.get(NO_ORDER + "?wait_ms=0")[0] != 400


def wait_for_holds(stack, sku, hold_s):
    """Until no order is held any more: confirmed, or expired."""
    deadline = time.monotonic() + hold_s + EXPIRED_WITHIN_S
    held = f"SELECT COUNT(*) FROM orders WHERE sku = '{sku}' AND state = 'held';"
    while time.monotonic() < deadline:
        if not any(int(count) for socket in stack.mysql_sockets for (count,) in stack.mysql(socket, held)):
            return
        time.sleep(LOOK_EVERY_S)


def crowd_of(heard):
    """What the audit needs of the purchases. An order that a read has shown as held is as good as a 201."""
    purchases = volley.Heard({"kinds": heard.of("buy")},
                             [("201" if word == "held" else word, order_id, buyer)
                              for word, order_id, buyer in heard.orders if word in ("201", "202", "held")])
    return volley.crowd_of(purchases)


def moves_wrong(heard, states):
    """Orders that MySQL has in another state than their buyers were told at last. Pure; {order id: state}."""
    return (sum(states.get(order_id) != "confirmed" for order_id in heard.ids("confirmed"))
            + sum(states.get(order_id) == "confirmed" for order_id in heard.ids("lapsed") - heard.ids("confirmed")))


def take_audit(stack, plan, heard, terms):
    """(findings, moves that are wrong, orders by state)"""
    wait_for_holds(stack, plan.sku, terms["hold_seconds"])
    findings = audit.take(stack, plan.sku, crowd_of(heard), terms | {"quantity": 1})
    states = {order_id: order.state for order_id, order in audit.read_books(stack, plan.sku).orders.items()}
    counts = {state: list(states.values()).count(state) for state in sorted(set(states.values()))}
    return findings, moves_wrong(heard, states), counts


def told_of(kinds):
    """The answers of one kind of request together: count, latencies, each second."""
    seconds = max((len(told["per_second"]) for told in kinds.values()), default=0)
    return {"count": sum(told["count"] for told in kinds.values()),
            "latency_ms": latencies(volley.merged(told["latency_us"] for told in kinds.values())),
            "service_ms": latencies(volley.merged(told["service_us"] for told in kinds.values())),
            "per_second": [sum(told["per_second"][second] for told in kinds.values()) for second in range(seconds)]}


def result(plan, terms, heard, audited, highest, used):
    """As the load-test results have it; what is about a drop stands at the end."""
    (findings, wrong_moves, states), record, said = audited, heard.record, heard.result
    purchases = heard.of("buy")
    first = record["kinds"].get("heard", {"count": 0, "latency_us": []})
    bought = told_of(purchases)
    answers = {name: told["count"] for name, told in purchases.items()}
    answered = sum(told["count"] for ask in ASKS for name, told in heard.of(ask).items() if name not in volley.NO_ANSWER)
    found = audit_of(findings) | {"moves_wrong": wrong_moves, "looks_wrong": said["looks_wrong"]}
    refused = sum(count for name, count in answers.items() if name.startswith(("409 ", "429 ")) and name != "409 sold_out")
    return {
        "strategy": terms["strategy"], "stock": plan.stock, "buyers": plan.buyers, "seconds": record["seconds"],
        "requests": answered, "accepted": said["ordered"], "sold_out": answers.get("409 sold_out", 0),
        "refused": refused,
        "errors": sum(told["count"] for ask in ASKS for name, told in heard.of(ask).items()
                      if name.startswith("5") or name in volley.NO_ANSWER),
        "requests_per_s": round(answered / record["seconds"], 1),
        "orders_per_s": round(said["ordered"] / plan.seconds, 1),
        "latency_ms": {name: bought["latency_ms"][kind] for name, kind in (("p50", "p50"), ("p99", "p99"), ("p999", "p99.9"))},
        "aborts": 0, "retries": record["retries"], "audit": found, "notes": findings.notes,
        "passed": not findings.wrong() and not wrong_moves and not said["looks_wrong"],
        "sku": plan.sku, "acknowledge": terms["acknowledge"], "hold_seconds": terms["hold_seconds"], "seed": plan.seed,
        "connections": plan.connections, "wait_ms": plan.wait_ms, "opens_s": said["opens_s"],
        "heard": {"buyers": first["count"], "latency_ms": latencies(first["latency_us"]),
                  "last_after_opening_ms": round(max(0.0, said["last_heard_s"] - said["opens_s"]) * 1000, 1)},
        "asks": {ask: told_of(heard.of(ask)) for ask in ASKS if heard.of(ask)},
        "kinds": {f"{ask}: {name}": {"count": told["count"], "latency_ms": latencies(told["latency_us"]),
                                     "service_ms": latencies(told["service_us"]), "per_second": told["per_second"]}
                  for ask in ASKS for name, told in sorted(heard.of(ask).items())},
        "orders_by_state": states, "live_units": findings.live_units, "confirmed": said["confirmed"],
        "lapsed": said["lapsed"], "abandoned": said["abandoned"], "repeats": record["repeats"],
        "gave_up": record["gave_up"], "connections_lost": record["connections_lost"],
        "client": {"cores": round(record["cpu_s"] / record["seconds"], 2), "lateness_ms": latencies(record["lateness_us"])},
        "queues_highest": highest,
    } | used


def series(found):
    """{name: counts of each second}"""
    def of(*names):
        rows = [found["kinds"][name]["per_second"] for name in names if name in found["kinds"]]
        return [sum(values) for values in zip(*rows)]
    lines = {"looks": found["asks"].get("look", {"per_second": []})["per_second"], "orders (201, 202)": of("buy: 201", "buy: 202"),
             "sold out": of("buy: 409 sold_out"), "confirmed": of("confirm: 200")}
    return {name: values for name, values in lines.items() if values}


def headline(found):
    heard, look = found["heard"], found["asks"].get("look", {"latency_ms": {"p99": None}})["latency_ms"]
    all_heard = "All" if heard["buyers"] == found["buyers"] else f"{heard['buyers']:,} of"
    return (f"{all_heard} {found['buyers']:,} buyers heard within {shown(heard['latency_ms']['max'])} ms of buying (p50"
            f" {shown(heard['latency_ms']['p50'])}, p99 {shown(heard['latency_ms']['p99'])}), the last one"
            f" {shown(heard['last_after_opening_ms'])} ms after the opening; p99 of looking {shown(look['p99'])} ms;"
            f" {found['live_units']:,} of {found['stock']:,} sold, {found['audit']['oversold']:,} oversold.")


def lines_of(name, told):
    return [name, f"{told['count']:,}", *map(shown, told["latency_ms"].values()),
            *(shown(told["service_ms"][share]) for share in ("p50", "p99"))]


def render(found):
    lines = [["request: answer", "count", *(f"{name} ms" for name in latencies([])), "from sending: p50", "p99"]]
    for ask, told in found["asks"].items():
        lines.append(lines_of(f"{ask}, all", told))
        lines += [lines_of(name, one) for name, one in found["kinds"].items() if name.startswith(ask + ": ")]
    late, cpu = found["client"]["lateness_ms"], found["cpu_s"]
    states = ", ".join(f"{count:,} {state}" for state, count in found["orders_by_state"].items())
    wrong = ", ".join(f"{name} {number}" for name, number in found["audit"].items() if number != 0)
    queues = ", ".join(f"{name.removeprefix('holdfast_')} {value:,}" for name, value in found["queues_highest"].items())
    columns = series(found)
    seconds = [["second", *columns]] + [[str(second), *(f"{values[second]:,}" for values in columns.values())]
                                        for second in range(max(map(len, columns.values()), default=0))]
    return f"""{headline(found)}

{found["connections"]:,} connections of HTTP/2. The sale opened after {found["opens_s"]:.1f} s; orders in MySQL at the end: {states or "none"};
{found["confirmed"]:,} confirmed, {found["lapsed"]:,} too late, {found["abandoned"]:,} let go; {found["retries"]:,} retries, {found["repeats"]:,} repeats of bots,\
 {found["gave_up"]:,} gave up

{markdown_table(lines)}

Latency counts from the intended time; from sending it leaves out what the generator was late. "Heard" is how a buyer's first purchase ended.
The generator used {found["client"]["cores"]:g} cores and was late by p50 {shown(late["p50"])}, p99 {shown(late["p99"])} ms; {found["connections_lost"]:,} connections\
 broke; steal {found["steal_percent"]:g} %.
Processor time: {", ".join(f"{group} {seconds:.1f} s" for group, seconds in cpu.items())}, in {found["seconds"]:.1f} s. Highest seen in /metrics: {queues or "nothing"}.

{markdown_table(seconds)}

{"FAIL: " + wrong if wrong else "PASS: nothing oversold, lost or doubled"}"""
