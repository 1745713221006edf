"""What the comparison is held to: each ratio with its bound, which must hold, and its aim. Pure; the one place.

A ratio is the median, over the rounds, of two medians' members within one round, so that what slows the machine
for a while slows both sides. Measures are those of measures.py.
"""

from dataclasses import dataclass
from statistics import median

AT_MOST, AT_LEAST = "at most", "at least"
MEETS_AIM, WITHIN, MISSED, NOT_MEASURED = "aim", "ok", "MISSED", "not measured"


@dataclass(frozen=True)
class Bound:
    name: str
    words: str
    of: str           # measure
    to: str | None    # measure; None: not a ratio but the value of `of` itself
    member: str
    side: str
    bound: float
    aim: float
    unit: str = ""


CPU, ORDERS, ANSWERS, P99 = "cpu_us_per_answer", "orders_per_s", "answers_per_s", "p99_ms"
ORDERS_PER_CPU_S = "orders_per_cpu_s"
# Without a number: 128 connections (compare --connections).
BARE, SOLD_OUT, ACCEPTED, COMMITTED, PEER = "bare", "sold_out_lua", "accepted", "committed_lua", "nginx_lua"
BARE_1000, ACCEPTED_1000, COMMITTED_1000, PEER_1000 = (f"{name}_1000" for name in (BARE, ACCEPTED, COMMITTED, PEER))
BARES, PEERS = (BARE, BARE_1000), (PEER, PEER_1000)


def of_reads(name, words):
    """Reads of items at 128 and at 1,000 connections, each beside the bare server at as many."""
    for tail, connections in (("", "128"), ("_1000", "1,000")):
        of, to = name + tail, BARE + tail
        yield Bound(f"cpu_{of}_to_bare", f"{connections}: processor time: {words} / bare", of, to, CPU, AT_MOST, 1.3, 1.1)
        yield Bound(f"rate_{of}_to_bare", f"{connections}: rate: {words} / bare", of, to, ANSWERS, AT_LEAST, 0.8, 0.95)


BOUNDS = (
    Bound("rate_committed_to_peer_1000", "1,000: rate: committed / nginx + Lua", COMMITTED_1000, PEER_1000, ORDERS,
          AT_LEAST, 1.4, 2.0),
    Bound("rate_accepted_to_peer_1000", "1,000: rate: accepted / nginx + Lua", ACCEPTED_1000, PEER_1000, ORDERS,
          AT_LEAST, 1.5, 2.0),
    Bound("cpu_accepted_to_peer_1000", "1,000: processor time: accepted / nginx + Lua", ACCEPTED_1000, PEER_1000, CPU,
          AT_MOST, 0.55, 0.35),
    Bound("cpu_committed_to_bare_1000", "1,000: processor time: committed / bare", COMMITTED_1000, BARE_1000, CPU,
          AT_MOST, 3.7, 3.0),
    Bound("cpu_h2_to_bare", "HTTP/2, 20 x 50 streams: processor time: committed / bare, HTTP/1.1, 128", "h2_20x50", BARE,
          CPU, AT_MOST, 2.5, 2.0),
    Bound("cpu_sold_out_to_bare", "128: processor time: sold out / bare", SOLD_OUT, BARE, CPU, AT_MOST, 1.2, 1.1),
    Bound("rate_sold_out_to_bare", "128: rate: sold out / bare", SOLD_OUT, BARE, ANSWERS, AT_LEAST, 0.80, 0.95),
    Bound("rate_lua_to_optimistic", "128: rate: committed lua / optimistic", COMMITTED, "committed_optimistic", ORDERS,
          AT_LEAST, 45, 200),
    Bound("rate_lua_to_optimistic_1000", "1,000: rate: committed lua / optimistic", COMMITTED_1000,
          "committed_optimistic_1000", ORDERS, AT_LEAST, 70, 200),
    Bound("rate_zipf_to_one_item_1000", "1,000: rate: 10,000 items by Zipf / one hot item", "zipf_1000", COMMITTED_1000,
          ORDERS, AT_LEAST, 0.6, 0.9),
    Bound("rate_nodes_3_to_1", "rate: three nodes / one, 384 connections", "nodes_3", "nodes_1", ORDERS, AT_LEAST, 0.9, 1.0),
    Bound("cpu_nodes_3_to_1", "processor time: three nodes / one, 384 connections", "nodes_3", "nodes_1", CPU, AT_MOST,
          1.3, 1.1),
    *of_reads("item", "read of one item"),
    *of_reads("items_zipf", "read of 10,000 items by Zipf"),
    Bound("cpu_order_in_hand_to_bare", "128: processor time: read of an order in hand / bare", "order_in_hand", BARE, CPU,
          AT_MOST, 1.5, 1.2),
    Bound("cpu_order_wait_to_bare", "1,000: processor time: read that waits for an order / bare", "order_wait_1000", BARE_1000,
          CPU, AT_MOST, 2.0, 1.5),
    Bound("cpu_readyz_to_bare", "128: processor time: readiness / bare", "readyz", BARE, CPU, AT_MOST, 1.3, 1.1),
    Bound("overload_orders_per_cpu_s", "orders in a second of processor time: 3 times the capacity / at capacity",
          "overload", "at_capacity", ORDERS_PER_CPU_S, AT_LEAST, 0.9, 1.0),
    Bound("half_load_p99", "p99 of an open loop at half of the committed rate", "half_load", None, P99,
          AT_MOST, 12, 5, "ms"),
)

# Held by other tools, which read their bounds here.
RSS_GROWTH = Bound("service_rss_growth", "service memory for 1,000,000 orders", "memory", None, "rss_growth_mb",
                   AT_MOST, 32, 32, "MB")
LARGE = (  # of an item with many orders; `of` is the change, or what is measured
    Bound("change_gap", "longest gap between two 201s at a change", "change", None, "gap_ms", AT_MOST, 200, 200, "ms"),
    Bound("first_201", "first 201 after FLUSHALL", "flushall", None, "first_201_ms", AT_MOST, 2000, 2000, "ms"),
    Bound("audit", "holdfast audit", "audit", None, "audit_s", AT_MOST, 10, 10, "s"),
    Bound("get_audit", "GET /v1/audit", "audit", None, "get_audit_s", AT_MOST, 1, 1, "s"),
    Bound("beside_audit", "the sale's rate beside an audit / alone", "beside", None, "beside_ratio", AT_LEAST, 0.9, 0.9),
)
MANY_ITEMS = tuple(Bound(f"items_{member}", words, "items", None, member, AT_MOST, bound, aim, unit) for
                   member, words, bound, aim, unit in (
    ("ready_s", "a node is ready after", 5, 2, "s"),
    ("node_percent", "quiet: the busiest node", 2, 1, "% of a core"),
    ("servers_percent", "quiet: Redis and MariaDB, for each node", 2, 1, "% of a core"),
    ("gates_unasked", "gates of items that nobody has asked for", 0, 0, "gates"),
    ("node_bytes_per_item", "memory of a node for an item that it has sold", 2048, 1024, "bytes"),
    ("redis_bytes_per_item", "memory of Redis for an item that was sold once", 1536, 1024, "bytes"),
    ("round_s", "a round of comparisons of all items", 1800, 900, "s"),
    ("metrics_ms", "/metrics answers after", 50, 10, "ms"),
    ("metrics_bytes", "/metrics", 65536, 32768, "bytes"),
    ("status_ms", "/v1/status answers after", 1000, 300, "ms"),
    ("epoch_poll_read", "a poll of epochs reads, while nothing changes", 10, 0, "rows"),
))
OVERLOAD = Bound("overload", "committed orders/s at 3 times the capacity / peak", "overload", "peak", ORDERS,
                 AT_LEAST, 0.9, 0.95)


def judge(bound, value):
    if value is None:
        return NOT_MEASURED

    def holds(limit):
        return value <= limit if bound.side == AT_MOST else value >= limit
    return MEETS_AIM if holds(bound.aim) else WITHIN if holds(bound.bound) else MISSED


def member_of(runs, measure, member):
    """{round: value}"""
    return {run["round"]: run[member] for run in runs if run["measure"] == measure and run.get(member) is not None}


def ratio(runs, of, to, member):
    """The ratios within each round, or with no `to` the values; rounds that lack either are left out.

    What sells nothing has no orders: beside it, orders are compared with its answers.
    """
    ones = member_of(runs, of, member)
    if to is None:
        return list(ones.values())
    others = member_of(runs, to, ANSWERS if to in BARES and member == ORDERS else member)
    return [ones[turn] / others[turn] for turn in ones if others.get(turn)]


def spread(values):
    """{"median", "min", "max"}; None of nothing."""
    return {"median": median(values), "min": min(values), "max": max(values)} if values else None


def table(runs, bounds=BOUNDS):
    """[(Bound, spread or None, verdict)]"""
    rows = []
    for bound in bounds:
        found = spread(ratio(runs, bound.of, bound.to, bound.member))
        rows.append((bound, found, judge(bound, found and found["median"])))
    return rows
