"""What runs out first, on paper: constants from loadtest/results, and one formula for each server. scaling.py has the tables.

Processor time of an order, of each server, is FIXED / batch + EACH + TOUCHED * items / batch: what a call or a transaction
costs whatever is in it, what an order adds, and what each item adds that a batch touches. Pure but for Results.read().
"""

import json
from dataclasses import dataclass
from pathlib import Path
from statistics import median

RESULTS = Path(__file__).resolve().parents[1] / "results"
COMMANDS = {"compare": "loadtest/compare --install-peers --out loadtest/results",
            "scale": "loadtest/scale --json loadtest/results/scale.json",
            "memory": "loadtest/memory --json loadtest/results/memory.json",
            "items": "loadtest/items --json loadtest/results/items.json"}

# The system on paper. Each server has a machine of its own.
CORES = 8               # of a node, and of a MariaDB server
CROWD = 10_000          # requests in flight, over all nodes
BATCH_MAX = 512         # redis.batch_max, mysql.writer_batch_max

SERVERS = ("service", "redis", "mysql")
# Measures of one item by one node, in batches of different sizes, over HTTP/1.1; as far as they were made.
BATCHES = ("h1_20", "half_load", "committed_lua", "committed_lua_1000", "nodes_1")
NODES_CONNECTIONS, ZIPF_ITEMS = 384, 10_000


class NotMeasured(Exception):
    """A file of results is not there; the text is the command that makes it."""


class Results:
    """The JSON files, each read when it is needed."""

    def __init__(self, directory=RESULTS):
        self.directory, self.files = directory, {}

    def read(self, name):
        path = self.directory / f"{name}.json"
        if name not in self.files:
            if not path.exists():
                raise NotMeasured(f"Not measured yet: `{COMMANDS[name]}`, then `loadtest/model`.")
            self.files[name] = json.loads(path.read_text())
        return self.files[name]


# --- constants ---

def line(points):
    """(a, b) of y = a + b x by least squares."""
    n, xs, ys = len(points), [x for x, _ in points], [y for _, y in points]
    mean_x, mean_y = sum(xs) / n, sum(ys) / n
    square = sum((x - mean_x) ** 2 for x in xs)
    b = sum((x - mean_x) * (y - mean_y) for x, y in points) / square if square else 0.0
    return mean_y - b * mean_x, b


def touched(items, batch):
    """How many of so many items, drawn by Zipf(1), are in a batch of orders. Ranks are taken in groups that widen."""
    groups, rank = [], 1
    while rank <= items:
        width = max(1, min(rank // 50, items - rank + 1))
        groups.append((1 / (rank + (width - 1) / 2), width))
        rank += width
    whole = sum(weight * width for weight, width in groups)
    return sum(width * (1 - (1 - weight / whole) ** batch) for weight, width in groups)


@dataclass(frozen=True)
class Cost:
    """Of one server, in us of processor time."""

    fixed: float    # a call or transaction
    each: float     # an order in it
    touched: float  # an item in it

    def of(self, batch, items=1):
        return self.fixed / batch + self.each + self.touched * (touched(items, batch) - 1) / batch


def middle(runs, measure, value):
    return median(value(run) for run in runs if run["measure"] == measure)


def batch_of(runs, measure):
    return middle(runs, measure, lambda run: run["accepted"] / max(1, run["writer_commits"]))


def us_of(runs, measure, server):
    return middle(runs, measure, lambda run: run["cpu_us"][server])


def batches_of(runs):
    """The measures of BATCHES that were made."""
    made = {run["measure"] for run in runs}
    return [name for name in BATCHES if name in made]


def costs(runs):
    """{server: Cost}"""
    found, zipf = {}, batch_of(runs, "zipf")
    for server in SERVERS:
        each, fixed = line([(1 / batch_of(runs, name), us_of(runs, name, server)) for name in batches_of(runs)])
        one = Cost(fixed, each, 0)
        more = us_of(runs, "zipf", server) - one.of(zipf)
        found[server] = Cost(fixed, each, max(0.0, more * zipf / (touched(ZIPF_ITEMS, zipf) - 1)))
    return found


class Model:
    """All that compare.json says."""

    def __init__(self, results):
        self.runs = results.read("compare")["runs"]
        self.costs = costs(self.runs)
        # Of the requests in flight, the rest are with Redis, or on their way to and from the client.
        self.share = batch_of(self.runs, "committed_lua") / results.read("compare")["setup"]["connections"]
        self.share_of_nodes = 3 * batch_of(self.runs, "nodes_3") / NODES_CONNECTIONS
        three = batch_of(self.runs, "nodes_3")
        self.contended = {server: max(0.0, us_of(self.runs, "nodes_3", server) - self.costs[server].of(three))
                          for server in SERVERS}
        self.refusal_us = us_of(self.runs, "sold_out_lua", "service")
        self.one_item_per_s = middle(self.runs, "h2_20x50", lambda run: run["orders_per_s"])

    def batch(self, parts):
        return min(BATCH_MAX, max(1.0, self.share * CROWD / parts))

    def limits(self, nodes, shards, items):
        """{what: orders a second that it carries}"""
        loops = nodes if items == 1 else nodes * CORES
        written, called = self.batch(nodes * min(shards, items)), self.batch(loops)
        contended = self.contended["mysql"] if nodes > 1 else 0
        mysql_us = self.costs["mysql"].of(written, items) + contended
        writers = 1 if items == 1 else min(shards, items) * min(nodes, CORES)
        return {"nodes": nodes * CORES * 1e6 / self.costs["service"].of(min(written, called), items),
                "Redis": 1e6 / self.costs["redis"].of(called, items),
                "its row" if items == 1 else "writers": writers * 1e6 / mysql_us}

    def first(self, nodes, shards, items):
        """(what runs out first, at how many orders a second)"""
        return min(self.limits(nodes, shards, items).items(), key=lambda limit: limit[1])

    def shards_until_redis(self, nodes, items):
        """With so many shards Redis runs out first."""
        return next(shards for shards in range(1, 1025)
                    if self.limits(nodes, shards, items)["writers"] >= self.limits(nodes, shards, items)["Redis"])

    def cores_until_redis(self, items):
        """What the services use when Redis is full."""
        found = self.limits(1, 100 if items > 1 else 1, items)
        return CORES * found["Redis"] / found["nodes"]

    def nodes_us(self, nodes):
        """Processor time of an order of one item by so many nodes, with 384 connections in all."""
        share = self.share_of_nodes if nodes > 1 else batch_of(self.runs, "nodes_1") / NODES_CONNECTIONS
        batch = max(1.0, share * NODES_CONNECTIONS / nodes)
        return sum(self.costs[server].of(batch) + (self.contended[server] if nodes > 1 else 0) for server in SERVERS)
