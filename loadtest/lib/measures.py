"""The measures of a comparison: what each one does in a round, and the record that it leaves.

A measure begins when the stack is at rest (idle.py). It is warmed up first, on its own item, then measured for the given
seconds when the stack is at rest again, then audited. The warm-up buys each
of many items at least once, from each node: what a node does when it first meets an item is not measured.
"""

import dataclasses
import json
import os
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from . import h2, idle, inhand, nodes, peers, rush, sale, schedule, tally, volley
from .bounds import BARE, PEER, PEER_1000
from .machine import CpuMeter, ProcessMeter
from .stack import STRATEGIES, StackError, parse_answers, parse_metric
from .tally import Target

ZIPF_ITEMS = 10_000
NODES = (1, 2, 3)
CROWD = 1000            # connections of the measures that end in _1000
OVERLOAD_CONNECTIONS = 9500  # below http.connections_max, above mysql.writer_queue_max
OVERLOAD_TIMES = 3
WAIT_MS = 20            # of a read that waits for an order
BUY_WITHIN_S, BUY_AGAIN_S = 30, 0.5
MIXED_ORDERS = 100      # that a mixed crowd reads
PLENTY = 900_000_000  # units that do not sell out
PUTS_AT_ONCE = 16
# The documented members of a load-test result, for what sells nothing.
NOTHING_SOLD = {"kind": "answers", "strategy": "", "stock": 0, "buyers": 0, "accepted": 0, "sold_out": 0, "refused": 0,
                "orders_per_s": 0.0, "aborts": 0, "retries": 0,
                "audit": {"oversold": 0, "lost": 0, "duplicated": 0, "drift": 0}}


@dataclass
class Client:
    """How the load is made."""

    connections: int
    threads: int
    seconds: int
    warm_up_s: float
    crowds: int = 1  # of `connections` each; they are spread over the nodes


class Bench:
    """A stack under measurement: every run leaves a record in `runs`."""

    def __init__(self, stack, client, say):
        self.stack, self.client, self.say = stack, client, say
        self.runs = []
        self.shared, self.tail = [], ""
        self.kept = 0       # orders that are in hand on purpose
        self.not_idle = ""  # what was at work when the last measure began

    def of_crowd(self):
        """The same bench with CROWD connections."""
        crowded = Bench(self.stack, dataclasses.replace(self.client, connections=CROWD), self.say)
        crowded.runs, crowded.shared, crowded.tail = self.runs, self.shared, "_1000"
        return crowded

    # --- parts of a run ---

    def target(self, word, terms, items=1, one_buyer=False):
        name = sale.fresh_sku(word) + ("-" if items > 1 else "")
        target = Target(name, {"total": PLENTY, "per_buyer_limit": 0 if one_buyer else 1, "hold_seconds": 0} | terms,
                        items, one_buyer=one_buyer)
        with ThreadPoolExecutor(PUTS_AT_ONCE) as pool:
            list(pool.map(lambda sku: self.stack.put_item(sku, target.terms), target.skus()))
        return target

    def rush(self, url, kind, name, items=1, buyers="b", seconds=None, orders=()):
        """Each crowd has buyers of its own. Those of a stack of several nodes go to one node each, in turn."""
        urls = self.stack.urls() if url == self.stack.url else [url]
        return rush.drive_all([
            rush.Rush(urls[crowd % len(urls)], seconds or self.client.seconds, self.client.connections,
                      self.client.threads, kind, name, items, f"{buyers}{crowd}." if crowd else buyers, orders)
            for crowd in range(max(self.client.crowds, len(urls)))])

    def watched(self, groups, act):
        """(what act() gave, the processor time and the host's share meanwhile). It begins with a stack at rest."""
        self.not_idle = idle.wait(self.stack, self.kept)
        host, processes, began = CpuMeter(), ProcessMeter(groups), time.monotonic()
        answers = act()
        cpu_s, shares, seconds = processes.read(), host.read(), time.monotonic() - began
        ours = (sum(cpu_s.values()) + answers.client_cpu_s) / seconds
        return answers, {"cpu_s": cpu_s, "others_cores": others_cores(shares["busy_percent"], ours)} | shares

    def buy(self, target, act):
        """One act of buying, whose answers are added to what the target's buyers were told."""
        before = self.stack.metrics()
        answers, used = self.watched(self.stack.pids, lambda: act())
        after = self.stack.metrics()
        statuses = statuses_between(before, after)
        target.told(statuses, answers.orders, answers.unheard)
        return answers, used, statuses, (before, after)

    def record(self, measure, turn, answers, used, **more):
        cpu = {group: round(1e6 * seconds / answers.answered, 2) for group, seconds in used.pop("cpu_s").items()}
        self.runs.append(NOTHING_SOLD | {
            "measure": measure, "round": turn, "not_idle": self.not_idle, "seconds": round(answers.seconds, 3), "requests": answers.answered,
            "requests_per_s": round(answers.per_s, 1), "answers_per_s": round(answers.per_s, 1),
            "errors": answers.broken, "latency_ms": answers.latency_ms,
            "p50_ms": answers.latency_ms.get("p50"), "p99_ms": answers.latency_ms.get("p99"),
            "cpu_us_per_answer": round(sum(cpu.values()), 2), "cpu_us": cpu,
            "client_cores": round(answers.client_cpu_s / answers.seconds, 2), "passed": True,
        } | used | more)
        return self.runs[-1]

    def record_sale(self, measure, turn, target, bought):
        answers, used, statuses, (before, after) = bought
        findings = tally.take(self.stack, target)
        seconds = answers.seconds
        orders = min(answers.orders, statuses.get(201, 0) + statuses.get(202, 0))
        run = self.record(
            measure, turn, answers, used, kind="sold_out" if target.terms["total"] == 1 else "orders",
            strategy=target.terms["strategy"], stock=target.terms["total"], buyers=answers.issued, accepted=orders,
            accepted_later=statuses.get(202, 0), sold_out=statuses.get(409, 0),
            orders_per_s=round(orders / seconds, 1),
            statuses={str(status): count for status, count in sorted(statuses.items())},
            committed_per_s=rate_between(before, after, "holdfast_orders_committed_total", seconds),
            audit=audit_of(findings), notes=findings.notes, sku=target.name)
        expected = (201, 202, 409, 503) if measure in OPEN_LOOPS else (201, 202, 409)
        run["errors"] += sum(count for status, count in statuses.items() if status not in expected)
        run["orders_per_cpu_s"] = round(1e6 * orders / max(1.0, run["cpu_us_per_answer"] * answers.answered), 1)
        for name in ("commits", "version_misses", "conflicts"):
            run[f"writer_{name}"] = int(grown(before, after, f"holdfast_writer_{name}_total") or 0)
        if self.stack.nodes:
            run["fairness"] = fairness(answers.parts, len(self.stack.urls()))
        for name in ("aborts", "retries"):
            run[name] = int(grown(before, after, f"holdfast_{name}_total") or 0)
            run[f"{name}_per_1000"] = round(1000 * run[name] / max(1, orders), 2)
        run["passed"] = not findings.wrong()
        self.tell(run)
        return run

    def tell(self, run):
        wrong = [f"{name} {number}" for name, number in run["audit"].items() if number != 0]
        rate = run.get("orders_per_s") or run["answers_per_s"]
        unit = "orders/s" if run.get("orders_per_s") else "answers/s"
        errors = f", {run['errors']:,} errors" if run["errors"] else ""
        self.say(run["round"], run["measure"], f"{rate:>9,.0f} {unit:<9} {run['cpu_us_per_answer']:>8,.1f} us/answer"
                 f"  p99 {run['p99_ms']:>7,.1f} ms  others {run['others_cores']:.1f} cores,"
                 f" steal {run['steal_percent']:g} %{errors}"
                 f"  {'WRONG: ' + ', '.join(wrong) if wrong else 'ok'}")

    # --- the measures ---

    def reads(self, turn, measure, kind, name, items=1):
        """Reads, which sell nothing; what is above 399 is an error."""
        self.rush(self.stack.url, "warm_look" if items > 1 else kind, name, items, seconds=self.client.warm_up_s)
        answers, used = self.watched(self.stack.pids, lambda: self.rush(self.stack.url, kind, name, items))
        run = self.record(measure, turn, answers, used)
        run["errors"] += answers.refused
        self.tell(run)

    def bare(self, turn):
        self.reads(turn, BARE + self.tail, "get", "/healthz")
        if self.runs[-1]["errors"]:
            raise StackError(f"{self.runs[-1]['errors']} of the answers to GET /healthz were errors")

    def readyz(self, turn):
        self.reads(turn, "readyz", "get", "/readyz")

    def item(self, turn):
        """An item that somebody has bought, so that it has a gate."""
        target = self.target("look", {"strategy": "lua"})
        self.orders_of(target, 1)
        self.reads(turn, "item" + self.tail, "look", target.name)

    def items_zipf(self, turn):
        self.reads(turn, "items_zipf" + self.tail, "look", self.many(ZIPF_ITEMS).name, ZIPF_ITEMS)

    def order(self, turn, measure, words=""):
        """Reads of an order that stays `reserved`; then it is let go, and audited."""
        target = self.target("inhand", {"strategy": "lua", "acknowledge": "accepted"})
        with inhand.order(self.stack, target) as path:
            if words and not inhand.waits_are_known(self.stack, path):
                self.say(turn, measure, "the service does not know wait_ms: not measured")
                return
            self.kept = 1
            self.reads(turn, measure, "get", path + words)
            self.kept = 0
        tally.settle(self.stack, target, inhand.ENDS_WITHIN_S)
        findings = tally.take(self.stack, target)
        self.runs[-1] |= {"audit": audit_of(findings), "notes": findings.notes, "passed": not findings.wrong()}

    def in_hand(self, turn):
        self.order(turn, "order_in_hand")

    def waits(self, turn):
        self.order(turn, "order_wait" + self.tail, f"?wait_ms={WAIT_MS}")

    def rush_sale(self, turn, measure, terms, items=1):
        """Warm up, measure, audit, on a fresh item, or on many that are made once and kept."""
        target = self.many(items) if items > 1 else self.target("compare", terms)
        self.buy(target, lambda: self.rush(self.stack.url, "warm", target.name, items, f"w{self.tail}{turn}-",
                                           self.client.warm_up_s))
        tally.settle(self.stack, target)
        bought = self.buy(target, lambda: self.rush(self.stack.url, "buy", target.name, items, f"b{self.tail}{turn}-"))
        return self.record_sale(measure + self.tail, turn, target, bought)

    def many(self, items):
        """The many items are made once, for all measures, and each is bought once: that builds its gate."""
        if not self.shared:
            target = self.target("zipf", {"strategy": "lua"}, items)
            self.buy(target, lambda: self.rush(self.stack.url, "warm", target.name, items, "first", 0.1))
            tally.settle(self.stack, target)
            left = [sku for sku, row in tally.read_rows(self.stack, target) if row.allocated == 0]
            with ThreadPoolExecutor(PUTS_AT_ONCE) as pool:
                answers = list(pool.map(lambda sku: self.buy_one(sku, "first"), left))
            target.told(Counter(status for status, _ in answers), len(answers), 0)
            self.shared.append(target)
        return self.shared[0]

    def committed(self, turn, strategy):
        return self.rush_sale(turn, f"committed_{strategy}", {"strategy": strategy})

    def sold_out(self, turn, strategy):
        return self.rush_sale(turn, f"sold_out_{strategy}", {"strategy": strategy, "total": 1})

    def accepted(self, turn):
        return self.rush_sale(turn, "accepted", {"strategy": "lua", "acknowledge": "accepted"})

    def many_items(self, turn):
        return self.rush_sale(turn, "zipf", {"strategy": "lua"}, ZIPF_ITEMS)

    def buy_one(self, sku, buyer):
        """(status, id of the order). A service that is busy is asked again, with the same key."""
        deadline = time.monotonic() + BUY_WITHIN_S
        while True:
            status, body = self.stack.buy(sku, buyer, key=buyer)
            if status in (201, 202):
                return status, json.loads(body)["order_id"]
            if status != 503 or time.monotonic() >= deadline:
                raise StackError(f"a purchase of {sku} was answered {status}: {body.strip()[:300]}")
            time.sleep(BUY_AGAIN_S)

    def orders_of(self, target, count):
        """So many purchases, one after the other: the ids of their orders."""
        answers = [self.buy_one(target.name, f"o{number}") for number in range(count)]
        target.told(Counter(status for status, _ in answers), count, 0)
        return [order_id for _, order_id in answers]

    def mixed(self, turn):
        """16 reads of the item, 3 purchases and 1 read of an order, in turn."""
        target = self.target("mixed", {"strategy": "lua"})
        ids = self.orders_of(target, MIXED_ORDERS)

        def act(buyers, seconds):
            return self.buy(target, lambda: self.rush(self.stack.url, "mixed", target.name, 1, buyers, seconds, tuple(ids)))
        act("w", self.client.warm_up_s)
        tally.settle(self.stack, target)
        bought = act("b", self.client.seconds)
        run = self.record_sale("mixed" + self.tail, turn, target, bought)
        run["errors"] += max(0, bought[0].refused - sum(count for status, count in bought[2].items() if status > 399))
        return run

    def of_nodes(self, turn, count):
        """The same crowds whatever the count; the further nodes run only meanwhile."""
        with nodes.group(self.stack, count) as group:
            bench = Bench(group, dataclasses.replace(self.client, crowds=max(NODES)), self.say)
            try:
                return bench.rush_sale(turn, f"nodes_{count}", {"strategy": "lua"})
            finally:
                self.runs += bench.runs

    def flood(self, turn, measure, connections, streams):
        target = self.target("flood", {"strategy": "lua"}, one_buyer=True)
        for seconds in (max(1, round(self.client.warm_up_s)), self.client.seconds):
            flood = h2.Flood(self.stack.url, target.name, seconds, connections, streams)
            bought = self.buy(target, lambda: h2.drive(flood))
        return self.record_sale(measure, turn, target, bought)

    def open_loop(self, turn, measure):
        """A part, or a multiple, of what the hot item committed in this round, by OPEN_LOOPS."""
        times, connections = OPEN_LOOPS[measure]
        full = next(run for run in reversed(self.runs) if run["measure"] == "committed_lua")
        target = self.target("open", {"strategy": "lua"})
        self.orders_of(target, 1)  # the gate is built
        segments = tuple(schedule.steady(max(1, full["orders_per_s"] * times), self.client.seconds))
        plan = volley.Plan(self.stack.url, target.name, segments, connections, seed=turn, retries=0, keyed=0)
        return self.record_sale(measure, turn, target, self.buy(target, lambda: volley.as_answers(volley.drive(plan))))

    def peer(self, turn, peer):
        sku, told, unheard = sale.fresh_sku("peer"), 0, 0
        peer.put_item(sku, PLENTY)
        for buyers, seconds in (("w", self.client.warm_up_s), ("b", self.client.seconds)):
            answers, used = self.watched(peer.processes(),
                                         lambda: self.rush(peer.url, "buy", sku, 1, buyers, seconds))
            told, unheard = told + answers.good, unheard + answers.unheard
        found = peer.audit(sku, PLENTY, told, unheard)
        run = self.record(PEER + self.tail, turn, answers, used, kind="orders", stock=PLENTY, buyers=answers.issued,
                          accepted=answers.good, orders_per_s=round(answers.good / answers.seconds, 1), audit=found,
                          passed=not any(found.values()))
        run["errors"] += answers.refused
        self.tell(run)


# Measure -> (times what the hot item committed, connections).
OPEN_LOOPS = {"half_load": (0.5, 512), "at_capacity": (1, OVERLOAD_CONNECTIONS),
              "overload": (OVERLOAD_TIMES, OVERLOAD_CONNECTIONS)}


def plan_of(bench, peer, with_http2):
    """{measure: act(round)} of one round, in their order: what a ratio is made of stands close together, and last what
    leaves the service work (it compares thousands of items for a while)."""
    crowd = bench.of_crowd()
    acts = {BARE: bench.bare, "readyz": bench.readyz, "item": bench.item, "order_in_hand": bench.in_hand}
    acts |= {f"sold_out_{name}": partial(bench.sold_out, strategy=name) for name in STRATEGIES}
    acts |= {"accepted": bench.accepted}
    acts |= {f"committed_{name}": partial(bench.committed, strategy=name) for name in STRATEGIES}
    acts |= {name: partial(bench.open_loop, measure=name) for name in OPEN_LOOPS}
    acts |= {PEER: partial(bench.peer, peer=peer)} if peer else {}
    acts |= {"bare_1000": crowd.bare, "item_1000": crowd.item, "order_wait_1000": crowd.waits,
             "accepted_1000": crowd.accepted, "committed_lua_1000": partial(crowd.committed, strategy="lua")}
    acts |= {PEER_1000: partial(crowd.peer, peer=peer)} if peer else {}
    acts |= {"committed_optimistic_1000": partial(crowd.committed, strategy="optimistic"), "mixed_1000": crowd.mixed}
    acts |= {"h2_20x50": partial(bench.flood, measure="h2_20x50", connections=20, streams=50)} if with_http2 else {}
    acts |= {"h1_20": partial(bench.flood, measure="h1_20", connections=20, streams=0)}
    acts |= {f"nodes_{count}": partial(bench.of_nodes, count=count) for count in NODES}
    return acts | {"zipf": bench.many_items, "zipf_1000": crowd.many_items, "items_zipf": bench.items_zipf,
                   "items_zipf_1000": crowd.items_zipf}


def fairness(parts, nodes):
    """The share of the node that was served least, of an equal share."""
    orders = [sum(part.good for part in parts[node::nodes]) for node in range(nodes)]
    return round(min(orders) * nodes / max(1, sum(orders)), 2)


def others_cores(busy_percent, ours):
    """What programs that are no part of the measurement used, in cores."""
    return round(max(0.0, busy_percent / 100 * os.cpu_count() - ours), 2)


def audit_of(findings):
    names = ("oversold", "lost", "duplicated", "drift", "unbalanced", "undecided", "refused_live", "unsold")
    return {name: getattr(findings, name) for name in names}


def statuses_between(before, after):
    then, now = parse_answers(before), parse_answers(after)
    grown_by = {status: count - then.get(status, 0) for status, count in now.items()}
    return {status: count for status, count in grown_by.items() if count}


def grown(before, after, name):
    now = parse_metric(after, name)
    return None if now is None else now - (parse_metric(before, name) or 0)


def rate_between(before, after, name, seconds):
    count = grown(before, after, name)
    return None if count is None else round(count / seconds, 1)
