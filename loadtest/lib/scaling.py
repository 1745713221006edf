"""The tables of SCALING.md, and its picture, out of what the model and the results say. Pure."""

from statistics import median

from . import comparison
from .model import COMMANDS, CORES, SERVERS, Model, NotMeasured, batch_of, batches_of, line, middle

REDIS_GB = 16
MAX_CONNECTIONS = 500   # of a MariaDB server, as deploy/up sets it; its own default is 151
NODES, SHARDS, ITEMS = (1, 3, 10), (1, 10, 100), (1, 100, 10_000, 1_000_000)
BUYERS = (10_000, 100_000, 1_000_000, 10_000_000)
CURVE_SHARDS, CURVE_ITEMS = (1, 2, 3, 5, 10, 20, 30, 50, 100), 10_000


def curves(results):
    """{name: [(shards, orders a second)]} of each server, for one node and for ten."""
    model, found = Model(results), {}
    for nodes in (1, 10):
        for name in ("nodes", "Redis", "writers"):
            words = {"nodes": f"{nodes} node{'s' if nodes > 1 else ''} of {CORES} cores", "Redis": f"Redis, {nodes} node(s)",
                     "writers": f"writers of all shards, {nodes} node(s)"}[name]
            found[words] = [(shards, round(model.limits(nodes, shards, CURVE_ITEMS)[name])) for shards in CURVE_SHARDS]
    row = model.limits(1, 1, 1)["its row"]
    return found | {"the row of one item": [(shards, round(row)) for shards in CURVE_SHARDS]}


def shown(number):
    """Two digits that count: it is a model."""
    if number < 10:
        return f"{number:.2g}"
    digits = len(str(int(number))) - 2
    return f"{round(number, -digits):,.0f}"


def first_table(results):
    model = Model(results)
    lines = [["what grows", "what runs out first", "at"]]
    lines.append(["orders of one item", "its row: one writer, one COMMIT at a time",
                  f"{shown(model.limits(1, 1, 1)['its row'])} orders/s by one node, {shown(model.limits(3, 1, 1)['its row'])} by"
                  f" several; measured, with everything on two cores, {shown(model.one_item_per_s)}"])
    lines.append(["orders of many items", "the one thread of Redis",
                  "orders/s by one node: " + ", ".join(f"{shown(model.limits(1, 100, items)['Redis'])} of {items:,} items"
                                                       for items in ITEMS[1:])])
    lines.append(["shards", "Redis", "{} for one node, {} for ten: more of them add no orders of {:,} items".format(
        *(model.shards_until_redis(nodes, CURVE_ITEMS) for nodes in (1, 10)), CURVE_ITEMS)])
    lines.append(["nodes", "Redis", f"{model.cores_until_redis(1):.1f} cores of services for one item,"
                  f" {model.cores_until_redis(CURVE_ITEMS):.1f} for {CURVE_ITEMS:,}; {CORES} cores refuse"
                  f" {shown(CORES * 1e6 / model.refusal_us)} a second"])
    lines += [row for rows in (buyers_first, items_first, connections_first) for row in measured(rows, results)]
    return comparison.markdown_table(lines)


def measured(rows, results):
    try:
        return rows(results)
    except NotMeasured:
        return []


def buyers_first(results):
    found = results.read("memory")
    ends = []
    for name, (change, member, bound) in LARGE.items():
        a, b = large_line(found, change, member)
        if bound is not None and b > 0:
            ends.append((max(0.0, (bound - a) / b), name, bound))
    if not ends:
        return []
    at, name, bound = min(ends)
    return [["buyers of an item", f"{name}: {bound:,}", f"{shown(at)} buyers"]]


def items_first(results):
    one = results.read("items")["derived"]
    at = REDIS_GB * 2**30 / one["redis_bytes_per_item"]
    return [["items", f"{REDIS_GB} GB of Redis", f"{shown(at)} items that were sold"]]


def connections_first(results):
    used = mysql_connections(results)
    return [["nodes", f"the {MAX_CONNECTIONS} connections that `deploy/up` lets a MariaDB server have; its own default is 151",
             f"{MAX_CONNECTIONS // used} nodes; {151 // used}"]]


def footprints(results):
    runs = [run for run in results.read("scale")["runs"] if run["measure"] == "footprint"]
    if not runs:
        raise NotMeasured(f"Not measured yet: `{COMMANDS['scale']}`, then `loadtest/model`.")
    return runs


def mysql_connections(results):
    """The most that one node had open to one server."""
    return max(run["mysql_connections"] for run in footprints(results))


def constants_table(results):
    model = Model(results)
    lines = [["us of processor time", "a call or transaction", "each order in it", "each further item in it"]]
    for server, words in zip(SERVERS, ("service (HTTP/1.1)", "Redis", "MariaDB")):
        cost = model.costs[server]
        lines.append([words, f"{cost.fixed:,.0f}", f"{cost.each:.1f}", f"{cost.touched:.1f}"])
    batches = [batch_of(model.runs, name) for name in batches_of(model.runs)]
    return comparison.markdown_table(lines) + (
        f"\n\nBy a line through batches of {min(batches):.0f} to {max(batches):.0f} orders; of the requests in flight"
        f" {model.share:.0%} were in one. Where others change the row, an order costs MariaDB {model.contended['mysql']:.1f} more.")


PURCHASE = {"bare": "bare `GET /healthz`", "sold_out_lua": '"sold out"', "accepted": "accepted (202)",
            "committed_lua": "committed (201)", "h2_20x50": "committed, 1,000 in flight (HTTP/2)",
            "zipf": "committed, 10,000 items by Zipf(1)", "nginx_lua": "nginx + Lua, one call a buyer"}


def purchase_table(results):
    runs = results.read("compare")["runs"]
    lines = [["us of processor time", "service", "Redis", "MariaDB", "together"]]
    for name, words in PURCHASE.items():
        mine = [run for run in runs if run["measure"] == name]
        if not mine:
            continue
        groups = [group for group in mine[0]["cpu_us"] if group not in ("redis", "mysql")]  # of the peer: nginx
        cells = [median(run["cpu_us"].get(group, 0) for run in mine) for group in (*groups, "redis", "mysql")]
        lines.append([words, *(f"{cell:.1f}" for cell in (*cells, median(run["cpu_us_per_answer"] for run in mine)))])
    return comparison.markdown_table(lines)


def orders_table(results):
    model = Model(results)
    lines = [["nodes", "shards", *(f"{items:,} item{'s' if items > 1 else ''}" for items in ITEMS)]]
    for nodes in NODES:
        for shards in SHARDS:
            cells = ["{1}: {0}".format(name, shown(rate)) for name, rate in
                     (model.first(nodes, shards, items) for items in ITEMS)]
            lines.append([str(nodes), str(shards), *cells])
    return comparison.markdown_table(lines)


def nodes_table(results):
    model = Model(results)
    lines = [["nodes", "us an order, on paper", "measured"]]
    for nodes in (1, 2, 3, 5, 10):
        measured = [run["cpu_us_per_answer"] for run in model.runs if run["measure"] == f"nodes_{nodes}"]
        lines.append([str(nodes), f"{model.nodes_us(nodes):.0f}", f"{median(measured):.0f}" if measured else ""])
    return comparison.markdown_table(lines)


# Of a large item: column -> (change, member of its runs), or (None, member of its size); the unit's factor; the bound.
LARGE = {
    "Redis, MB": (None, "redis_mb", REDIS_GB * 1000), "service at most, MB": (None, "rss_most_mb", None),
    "gap at a change of the limit, ms": ("limit", "gap_ms", 200), "optimistic -> lua, ms": ("optimistic_to_lua", "gap_ms", 200),
    "first 201 after FLUSHALL, ms": ("flushall", "first_201_ms", 2000),
    "all loaded, ms": ("flushall", "whole_ms", None), "holdfast audit, s": ("audit", "audit_s", 10),
}


def large_line(found, change, member):
    """(a, b) of a + b * orders, from what was measured at each size."""
    points = []
    for size in found["sizes"]:
        if "failed" in size:
            continue
        values = [size[member]] if change is None else [
            run[member] for run in found["runs"] if run["orders"] == size["orders"] and run["change"] == change]
        points.append((size["orders"], median(values)))
    return line(points)


def buyers_table(results):
    found = results.read("memory")
    lines = [["buyers", *LARGE]]
    fits = {name: large_line(found, change, member) for name, (change, member, _) in LARGE.items()}
    for buyers in BUYERS:
        lines.append([f"{buyers:,}", *(shown(max(0.0, a + b * buyers)) for a, b in fits.values())])
    lines.append(["bound", *("" if bound is None else f"{bound:,}" for _, _, bound in LARGE.values())])
    lines.append(["runs out at", *(out_at(*fits[name], bound) for name, (_, _, bound) in LARGE.items())])
    return comparison.markdown_table(lines)


def out_at(a, b, bound):
    if bound is None:
        return ""
    if b <= 0 or (bound - a) / b > 1e9:
        return "no size"
    return shown(max(0.0, (bound - a) / b))


def items_table(results):
    found = results.read("items")
    one = found["derived"]
    lines = [["items that were sold", "Redis, MB", "a node, MB", "a round of comparisons, s"]]
    for items in (1000, 10_000, 100_000, 1_000_000):
        lines.append([f"{items:,}", *(shown(value) for value in (
            one["redis_bytes_per_item"] * items / 2**20, one["node_bytes_per_item"] * items / 2**20,
            one["round_s"] * items / found["items"]))])
    redis = REDIS_GB * 2**30 / one["redis_bytes_per_item"]
    return comparison.markdown_table(lines) + (
        f"\n\nMeasured with {found['items']:,} items on {found['shards']} shards: a quiet node takes {one['node_percent']:g} %"
        f" of a core and is ready after {one['ready_s']:g} s; `/metrics` answers in {one['metrics_ms']:g} ms. {REDIS_GB} GB of"
        f" Redis last for {shown(redis)} items.")


def shapes_table(results):
    runs = [run for run in results.read("scale")["runs"] if "shards" in run and run["measure"] != "footprint"]
    shapes = sorted({(run["shards"], run["loops"], run["writers"]) for run in runs}, key=lambda shape: (shape[2], *shape[:2]))
    lines = [["loops", "shards", "writers a shard", "sold-out answers/s", "orders/s, one item", "orders/s, 1,000 items"]]
    for shards, loops, writers in shapes:
        mine = [run for run in runs if (run["shards"], run["loops"], run["writers"]) == (shards, loops, writers)]
        cells = [f"{middle(mine, name, lambda run: run[member]):,.0f}" for name, member in (
            ("sold_out", "answers_per_s"), ("one_item", "orders_per_s"), ("many_items", "orders_per_s"))]
        lines.append([str(loops), str(shards), str(writers), *cells])
    return comparison.markdown_table(lines)


def shards_table(results):
    runs = [run for run in footprints(results) if run["writers"] == 1]
    base, more = line([(run["shards"], run["threads"]) for run in runs])
    connections = mysql_connections(results)
    lines = [["nodes", "shards", "threads of a node", "connections to each MariaDB, at most"]]
    for nodes, shards in ((1, 1), (3, 10), (10, 10), (10, 100)):
        lines.append([str(nodes), str(shards), shown(base + more * shards), f"{nodes * connections:,}"])
    return comparison.markdown_table(lines)


def measured_table(results):
    """What was measured where, beside how many other programs, and by which command."""
    lines = [["file in `results/`", "taken", "commit", "machine", "others, cores", "by"]]
    for name, command in COMMANDS.items():
        try:
            found = results.read(name)
        except NotMeasured:
            lines.append([f"`{name}.json`", "not yet", "", "", "", f"`{command}`"])
            continue
        others = [run["others_cores"] for run in found.get("runs", ()) if "others_cores" in run]
        lines.append([f"`{name}.json`", found.get("taken_at", ""), found.get("commit", ""), found["machine"]["model"],
                      f"{median(others):.2f}" if others else "", f"`{command}`"])
    return comparison.markdown_table(lines)


TABLES = {"first": first_table, "measured": measured_table, "constants": constants_table, "orders": orders_table, "nodes": nodes_table,
          "buyers": buyers_table, "items": items_table, "shards": shards_table, "shapes": shapes_table,
          "purchase": purchase_table}
BEGIN, END = "<!-- model: {} -->\n", "<!-- end -->"


def rewritten(text, results):
    """The text with every table as the results have it now."""
    for name, table in TABLES.items():
        before, begin, rest = text.partition(BEGIN.format(name))
        _, end, after = rest.partition(END)
        if not begin or not end:
            raise ValueError(f"there is no place for the table {name}")
        try:
            shown_now = table(results)
        except NotMeasured as reason:
            shown_now = str(reason)
        text = f"{before}{begin}{shown_now}\n{end}{after}"
    return text
