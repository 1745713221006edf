"""What an open loop says: its result as data, the tables for people, the verdict on an overload. Pure."""

from . import bounds, schedule, volley
from .comparison import markdown_table
from .measures import audit_of
from .stack import parse_metric

SHARES = (50, 90, 99, 99.9, 100)


def raise_highest(highest, metrics, names):
    for name in names:
        value = parse_metric(metrics, name)
        if value is not None:
            highest[name] = max(highest.get(name, 0), int(value))


def latencies(histogram):
    """{"p50": ms, ..., "max": ms}"""
    return {"max" if share == 100 else f"p{share:g}": volley.percentile(histogram, share) for share in SHARES}


def result(plan, terms, heard, findings, highest, used):
    record = heard.record
    wrong = findings.wrong()
    return {
        "sku": plan.sku, "strategy": terms["strategy"], "acknowledge": terms["acknowledge"], "stock": terms["total"],
        "seed": plan.seed, "connections": plan.connections, "seconds": record["seconds"],
        "expected_per_second": [round(count, 1) for count in schedule.expected_per_second(plan.segments)],
        "attempts": record["attempts"], "buyers": record["buyers"], "retries": record["retries"],
        "repeats": record["repeats"], "gave_up": record["gave_up"], "connections_lost": record["connections_lost"],
        "live_units": findings.live_units,
        "offered_per_second": record["offered"],
        "kinds": {kind: {"count": told["count"], "latency_ms": latencies(told["latency_us"]),
                         "service_ms": latencies(told["service_us"]),
                         "per_second": told["per_second"]} for kind, told in sorted(record["kinds"].items())},
        "client": {"cores": round(record["cpu_s"] / record["seconds"], 2),
                   "lateness_ms": latencies(record["lateness_us"])},
        "queues_highest": highest, "audit": audit_of(findings), "notes": findings.notes, "passed": not wrong,
    } | used


def shown(milliseconds):
    return "" if milliseconds is None else f"{milliseconds:,.1f}"


def render(found):
    lines = [["answer", "count", *(f"{name} ms" for name in latencies([])), "from sending: p50", "p99"]]
    for kind, told in found["kinds"].items():
        lines.append([kind, f"{told['count']:,}", *map(shown, told["latency_ms"].values()),
                      *(shown(told["service_ms"][name]) for name in ("p50", "p99"))])
    queues = ", ".join(f"{name.removeprefix('holdfast_')} {value:,}" for name, value in found["queues_highest"].items())
    wrong = ", ".join(f"{name} {number}" for name, number in found["audit"].items() if number != 0)
    late = found["client"]["lateness_ms"]
    return f"""{found["buyers"]:,} buyers made {found["attempts"]:,} attempts in {found["seconds"]:.1f} s: {found["retries"]:,} retries,\
 {found["repeats"]:,} repeats of bots, {found["gave_up"]:,} gave up
{found["live_units"]:,} of {found["stock"]:,} units are sold, as MySQL has it

{markdown_table(lines)}

Replayed: an Idempotency-Key came again and was answered with its first order, which is no new one.
Latency counts from the intended time; from sending it leaves out the wait for a free connection. The generator itself used {found["client"]["cores"]:g} cores and was late by
p50 {shown(late["p50"])}, p99 {shown(late["p99"])} ms; {found["connections_lost"]:,} connections broke; steal {found["steal_percent"]:g} %.
Highest seen in /metrics: {queues or "nothing"}.

offered and served a second
{per_second_table(found)}

{"FAIL: " + wrong if wrong else "PASS: nothing oversold, lost or doubled"}"""


def series(found):
    """{name: counts of each second}: offered, and each kind that is a hundredth of the attempts."""
    kinds = {kind: told["per_second"] for kind, told in found["kinds"].items()
             if told["count"] * 100 >= found["attempts"]}
    return {"offered": found["offered_per_second"]} | kinds


def per_second_table(found):
    columns = series(found)
    lines = [["second", *columns]]
    lines += [[str(second), *(f"{values[second]:,}" for values in columns.values())]
              for second in range(len(found["offered_per_second"]))]
    return markdown_table(lines)


def mean_between(per_second, since, until):
    """Of the whole seconds in between; None if there are none."""
    values = per_second[since:until]
    return sum(values) / len(values) if values else None


def step(times, capacity, seconds, found):
    """One step of an overload. The first second is left out, and what came after the last arrival."""
    def rate(kinds):
        return round(sum(mean_between(found["kinds"][kind]["per_second"], 1, seconds) or 0 for kind in kinds), 1)

    orders = [kind for kind in found["kinds"] if kind in ("201", "202")]
    refusals = [kind for kind in found["kinds"] if kind.startswith("5")]
    refused = sum(found["kinds"][kind]["count"] for kind in refusals)
    return {
        "times": times, "offered_per_s": round(times * capacity, 1), "orders_per_s": rate(orders),
        "refused_per_s": rate(refusals), "refused": refused,
        "order_ms": {kind: found["kinds"][kind]["latency_ms"] for kind in orders},
        "refusal_ms": {kind: found["kinds"][kind]["latency_ms"] for kind in refusals},
        "refusal_from_sending_ms": {f"{kind} from sending": found["kinds"][kind]["service_ms"] for kind in refusals},
        "queues_highest": found["queues_highest"], "client": found["client"], "audit": found["audit"],
        "cpu_s": found["cpu_s"], "seconds": found["seconds"],
        "steal_percent": found["steal_percent"], "not_answered": sum(
            told["count"] for kind, told in found["kinds"].items() if not kind[0].isdigit()),
        "passed": found["passed"],
    }


def render_step(one):
    def p50_p99(latency):
        return "; ".join(f"{kind} p50 {shown(ms['p50'])} p99 {shown(ms['p99'])} ms" for kind, ms in latency.items())
    wrong = ", ".join(f"{name} {number}" for name, number in one["audit"].items() if number != 0)
    queues = ", ".join(f"{name.removeprefix('holdfast_')} {value:,}" for name, value in one["queues_highest"].items())
    cores = ", ".join(f"{group} {seconds / one['seconds']:.2f}" for group, seconds in one["cpu_s"].items())
    return (f"  {one['times']:>4g} x  offered {one['offered_per_s']:>8,.0f}/s  orders {one['orders_per_s']:>8,.0f}/s"
            f"  503 {one['refused_per_s']:>8,.0f}/s  not answered {one['not_answered']:,}"
            f"  {'WRONG: ' + wrong if wrong else 'ok'}\n"
            f"         {p50_p99(one['order_ms'] | one['refusal_ms'] | one['refusal_from_sending_ms'])}\n"
            f"         queues at most: {queues}\n"
            f"         cores: {cores}, generator {one['client']['cores']:g}; steal {one['steal_percent']:g} %")


def overload(steps, capacity):
    """The last step against the best of all, and of the closed loop."""
    peak = max(capacity, *(one["orders_per_s"] for one in steps))
    share = steps[-1]["orders_per_s"] / peak
    return {"capacity_orders_per_s": round(capacity, 1), "peak_orders_per_s": round(peak, 1),
            "times": steps[-1]["times"], "share_of_peak": round(share, 4),
            "bound": bounds.OVERLOAD.bound, "aim": bounds.OVERLOAD.aim, "verdict": bounds.judge(bounds.OVERLOAD, share)}


def render_overload(summary):
    return (f"At {summary['times']:g} times the capacity {100 * summary['share_of_peak']:.0f} % of the peak of"
            f" {summary['peak_orders_per_s']:,.0f} orders/s were committed:"
            f" bound {100 * summary['bound']:g} %, aim {100 * summary['aim']:g} %: {summary['verdict']}")
