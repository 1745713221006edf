"""What the runs of a comparison say together: medians with their spread, ratios beside their bounds, Markdown. Pure."""

from statistics import median

from . import bounds
from .bounds import BARE, BARE_1000, PEER, PEER_1000
from .idle import CORES_MOST as IDLE_CORES

# Measures in the order of the table -> what they are, for people.
MEASURES = {
    BARE: "bare `GET /healthz`",
    "readyz": "readiness, `GET /readyz`",
    "item": "read of one item",
    "sold_out_lua": "sold out, lua",
    "sold_out_watch": "sold out, watch",
    "sold_out_optimistic": "sold out, optimistic",
    "sold_out_serializable": "sold out, serializable",
    "accepted": "accepted (202), lua",
    "committed_lua": "committed, lua",
    "committed_watch": "committed, watch",
    "committed_optimistic": "committed, optimistic",
    "committed_serializable": "committed, serializable",
    PEER: "peer: nginx + Lua + Redis",
    "half_load": "committed, open loop at half of it",
    "at_capacity": "committed, open loop at as much",
    "overload": "committed, open loop at 3 times",
    "order_in_hand": "read of an order in hand",
    BARE_1000: "1,000: bare `GET /healthz`",
    "item_1000": "1,000: read of one item",
    "order_wait_1000": "1,000: read that waits for an order",
    "accepted_1000": "1,000: accepted (202), lua",
    "committed_lua_1000": "1,000: committed, lua",
    "committed_optimistic_1000": "1,000: committed, optimistic",
    "mixed_1000": "1,000: reads and purchases mixed",
    PEER_1000: "1,000: peer: nginx + Lua + Redis",
    "h1_20": "committed, HTTP/1.1, 20 connections",
    "h2_20x50": "committed, HTTP/2, 20 x 50 streams",
    "nodes_1": "committed, 1 node, 384 connections",
    "nodes_2": "committed, 2 nodes, 384 connections",
    "nodes_3": "committed, 3 nodes, 384 connections",
    "items_zipf": "read of 10,000 items by Zipf(1)",
    "zipf": "committed, 10,000 items by Zipf(1)",
    "items_zipf_1000": "1,000: read of 10,000 items by Zipf(1)",
    "zipf_1000": "1,000: committed, 10,000 items by Zipf(1)",
}
# Of --quick: not what needs many items or nodes, or the strategies that take long.
QUICK = tuple(name for name in MEASURES if "zipf" not in name and not name.startswith("nodes") and name not in (
    "sold_out_watch", "sold_out_optimistic", "sold_out_serializable", "committed_watch", "committed_serializable", "h1_20"))
# Column -> (member, decimals).
COLUMNS = {
    "answers/s": ("answers_per_s", 0),
    "orders/s": ("orders_per_s", 0),
    "p50 ms": ("p50_ms", 1),
    "p99 ms": ("p99_ms", 1),
    "us an answer": ("cpu_us_per_answer", 1),
    "orders per cpu s": ("orders_per_cpu_s", 0),
    "aborts per 1,000": ("aborts_per_1000", 0),
}


def summarize(runs):
    """{measure: {member: {"median", "min", "max"} or None}}, of the measures that ran."""
    ran = {run["measure"] for run in runs}
    return {measure: {member: bounds.spread(list(bounds.member_of(runs, measure, member).values()))
                      for member, _ in COLUMNS.values()} for measure in MEASURES if measure in ran}


def ratios(runs):
    """{name: median within the rounds}; None where a side was not measured."""
    def middle(of, to, member):
        found = bounds.spread(bounds.ratio(runs, of, to, member))
        return None if found is None else round(found["median"], 4)

    found = {bound.name: middle(bound.of, bound.to, bound.member) for bound in bounds.BOUNDS}
    found |= {f"lua_to_{other}_orders": middle("committed_lua", f"committed_{other}", bounds.ORDERS)
              for other in ("watch", "optimistic", "serializable")}
    return found


def judged(runs):
    """The table of bounds as data."""
    return [{"name": bound.name, "words": bound.words, "unit": bound.unit, "value": found, "side": bound.side,
             "bound": bound.bound, "aim": bound.aim, "verdict": verdict}
            for bound, found, verdict in bounds.table(runs)]


def wrongs(run):
    """What makes a run a failure, however fast it was: words. Errors that were answered are shown, not judged."""
    return [name for name, number in run["audit"].items() if number != 0]


def verdict_of(runs, measure):
    """What its runs got wrong, or "ok"; - for what sells nothing."""
    mine = [run for run in runs if run["measure"] == measure]
    wrong = sorted({name for run in mine for name in wrongs(run)})
    errors = sum(run["errors"] for run in mine)
    if wrong:
        return "WRONG: " + ", ".join(wrong)
    if errors:
        return f"ok, {errors:,} errors"
    return "-" if all(run.get("kind") == "answers" for run in mine) else "ok"


def spread(values, decimals):
    if values is None or values["max"] == 0 and decimals == 0:
        return ""
    middle, low, high = (f"{values[name]:,.{decimals}f}" for name in ("median", "min", "max"))
    return middle if low == high else f"{middle} ({low}..{high})"


def markdown_table(lines):
    """Lines of cells, the first of them the heading."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    ruled = [lines[0], ["-" * width for width in widths], *lines[1:]]
    return "\n".join("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |"
                     for line in ruled)


def bare_of(measure):
    """The bare server at as many connections."""
    return BARE_1000 if measure.endswith("_1000") else BARE


def cpu_parts(runs, measure):
    """The medians of the groups' processor time an answer: "8.9 + 0.1 + 0.4"."""
    parts = [run["cpu_us"] for run in runs if run["measure"] == measure]
    return " + ".join(f"{median(part[group] for part in parts):,.1f}" for group in parts[0])


def measures_table(runs, summary):
    lines = [["measure", *COLUMNS, "service + Redis + MySQL", "cpu / bare", "audit"]]
    for measure, members in summary.items():
        cells = [spread(members[member], decimals) for member, decimals in COLUMNS.values()]
        to_bare = bounds.spread(bounds.ratio(runs, measure, bare_of(measure), bounds.CPU))
        lines.append([MEASURES[measure], *cells, cpu_parts(runs, measure), spread(to_bare, 2),
                      verdict_of(runs, measure)])
    return markdown_table(lines)


def digits(number):
    """Three that count."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def bounds_table(rows):
    lines = [["ratio", "measured", "bound", "aim", "verdict"]]
    for row in rows:
        value, unit = row["value"], f" {row['unit']}" if row["unit"] else ""
        measured = "" if value is None else (f"{digits(value['median'])}{unit}"
                                             f" ({digits(value['min'])}..{digits(value['max'])})")
        lines.append([row["words"], measured, f"{row['side']} {row['bound']:g}{unit}", f"{row['aim']:g}",
                      row["verdict"]])
    return markdown_table(lines)


def render(result, chart=""):
    """The whole comparison as Markdown."""
    machine, setup, runs = result["machine"], result["setup"], result["runs"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    steal = bounds.spread([run["steal_percent"] for run in runs])
    others = bounds.spread([run["others_cores"] for run in runs])
    absent = "".join(f"\n- Not measured: {why}." for why in result["not_measured"])
    absent += "".join(f"\n- Round {run['round']}, {run['measure']}: began while the stack was still at work: {run['not_idle']}."
                      for run in runs if run.get("not_idle"))
    return f"""# Holdfast beside its bare HTTP server, its other strategies and a peer

{result["taken_at"]}, commit {result["commit"]}. {machine["model"]}, {machine["cores"]} cores, Linux {machine["kernel"]}; {versions}.
The service, MySQL, Redis and the load share this machine; steal {steal["median"]:g} % ({steal["min"]:g}..{steal["max"]:g}) of the time,
other programs used {others["median"]:g} cores ({others["min"]:g}..{others["max"]:g}): with more than a fifth of a core this is a look, not a measurement.
Median (min..max) of {setup["rounds"]} interleaved round(s) of {setup["seconds"]} s a measure, each warmed up for {setup["warm_up_seconds"]:g} s; {setup["connections"]} connections where no
other number stands, {setup["threads"]} wrk thread(s), {setup["http_loops"]} HTTP loop(s), HTTP/1.1 keep-alive. Synced to disk at each commit: appendfsync always,
innodb_flush_log_at_trx_commit=1, sync_binlog=1; so is the peer's Redis.

{measures_table(runs, result["summary"])}

*us an answer*: user and system time of the service, its Redis and its MariaDB servers over the measured seconds
(of the peer: nginx and its Redis), divided by the answers; *orders per cpu s*: orders in a second of it. *cpu / bare*: beside
the bare server at as many connections (128 or 1,000). Each measure began when the one before had left nothing to do: no purchase in
flight, empty queues, service and servers below {IDLE_CORES:g} of a core. Orders/s counts 201s (202s where they are what is
asked for), answers/s all answers. Mixed: 80 % reads of the item, 15 % purchases of it, 5 % reads of orders. The open loops are at a
half, at all and at three times of what 128 connections committed in the round, the last two over 9,500 connections. Latencies of the closed loops are wrk's and h2load's; those of the open loop count
from when an attempt was meant to be made.

{bounds_table(result["bounds"])}

Ratios are medians of those within a round. Every run was audited in MySQL and Redis: an order lost, doubled or
oversold makes it WRONG.
{absent}{chart}
"""
