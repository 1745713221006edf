"""An item that was sold very often, each time to another buyer: what a change of it, an empty Redis and an audit cost.

Most of its orders are written by SQL, as a sale would have left them: rows, and the item's totals in the same
transaction. `holdfast audit` must find them right before anything is measured.
"""

import json
import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

from . import audit, buyers, nodes, rush, sale, tally
from .machine import CpuMeter, ProcessMeter
from .measures import Client, others_cores
from .stack import StackError, parse_metric
from .taken import Redis, resident
from .tally import Target

TERMS = {"total": 900_000_000, "per_buyer_limit": 2, "hold_seconds": 0, "strategy": "lua", "acknowledge": "committed"}
CHUNK = 100_000          # orders a transaction of the filling
ORDERS_A_MS = 30         # by the times in their ids
# A server's buffer pool holds what is sold now. 2,000,000 orders have 0.75 GB; with the 256 MB of deploy/up their
# buyers are loaded by reads of the disk, one an order.
BUFFER_POOL = 1 << 30
QUIET_S, AFTER_S = 1.0, 0.5
LOOK_EVERY_S = 0.1
CHANGED_WITHIN_S = 120
# Name of a change -> the members that are changed; the limit alternates between 3 and 2.
CHANGES = {"limit": {}, "lua_to_watch": {"strategy": "watch"}, "watch_to_lua": {"strategy": "lua"},
           "lua_to_optimistic": {"strategy": "optimistic"}, "optimistic_to_lua": {"strategy": "lua"}}
FLUSHALL = "flushall"
WORDS = {"limit": "PATCH per_buyer_limit", "lua_to_watch": "lua -> watch", "watch_to_lua": "watch -> lua",
         "lua_to_optimistic": "lua -> optimistic", "optimistic_to_lua": "optimistic -> lua", FLUSHALL: "FLUSHALL"}

# The first 48 bits of an id are its time in ms, the next 16 its version and its slot. Buyers come in random order.
FILL_SQL = """SET time_zone = '+00:00';
START TRANSACTION;
SET @epoch = (SELECT epoch FROM inventory WHERE sku = '{sku}');
INSERT INTO orders (order_id, sku, bucket, buyer_id, quantity, state, epoch, created_at, updated_at)
SELECT UNHEX(CONCAT(LPAD(HEX({from_ms} + (seq - {start}) DIV {a_ms}), 12, '0'), '7', LPAD(HEX({slot}), 3, '0'), '8',
    LEFT(MD5(CONCAT('{sku} order ', seq)), 15))),
  '{sku}', {bucket}, CONCAT('m', LEFT(MD5(CONCAT('{sku} buyer ', seq)), 15)), 1, 'confirmed', @epoch,
  FROM_UNIXTIME(({from_ms} + (seq - {start}) DIV {a_ms}) / 1000), UTC_TIMESTAMP(3)
FROM seq_{start}_to_{end};
UPDATE inventory SET allocated_total = allocated_total + {count}, version = version + 1, updated_at = UTC_TIMESTAMP(3)
WHERE sku = '{sku}' AND bucket = {bucket};
COMMIT;
"""
ONE_SQL = "SELECT " + audit.ORDER_UUID + " FROM orders WHERE sku = '{sku}' LIMIT 1;\n"
BYTES_SQL = """ANALYZE TABLE orders;
SELECT 'bytes', DATA_LENGTH + INDEX_LENGTH FROM information_schema.TABLES
WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'orders';
"""


class Load:
    """Whether the machine was ours meanwhile."""

    def __init__(self, stack):
        self.host, self.servers, self.began = CpuMeter(), ProcessMeter(stack.pids), time.monotonic()
        self.own = _own_seconds()

    def read(self):
        shares, seconds = self.host.read(), time.monotonic() - self.began
        ours = sum(self.servers.read().values()) + _own_seconds() - self.own
        return shares | {"others_cores": others_cores(shares["busy_percent"], ours / seconds)}


def _own_seconds():
    return sum(os.times()[:4])  # user and system, ours and of children that have ended


def chunks(first, last, size=CHUNK):
    """[(start, end)] that cover first..last. Pure."""
    return [(start, min(start + size - 1, last)) for start in range(first, last + 1, size)]


class Large:
    """The item, with what its buyers were told."""

    def __init__(self, stack, say):
        self.stack, self.say = stack, say
        self.target = Target(sale.fresh_sku("large"), TERMS)
        self.sku, self.filled = self.target.name, 0
        stack.put_item(self.sku, TERMS)
        for socket in stack.mysql_sockets:
            stack.mysql(socket, f"SET GLOBAL innodb_buffer_pool_size = {BUFFER_POOL};\n")
        self.redis = Redis(stack, self.target)
        self.crowd = buyers.Buyers(stack.url, self.sku, "n")
        self.limit = TERMS["per_buyer_limit"]

    # --- filling ---

    def fill(self, orders):
        """Until the item has so many orders. No gate counts them meanwhile; it is built anew at the end."""
        missing = orders - self.sold()
        if missing <= 0:
            return
        self.patch({"strategy": "optimistic"})
        (_, row), = tally.read_rows(self.stack, self.target)
        from_ms = int(time.time() * 1000) - missing // ORDERS_A_MS
        for start, end in chunks(self.filled + 1, self.filled + missing):
            self.stack.mysql(self.stack.mysql_sockets[0], FILL_SQL.format(
                sku=self.sku, slot=row.slot, bucket=row.bucket, start=start, end=end, count=end - start + 1,
                from_ms=from_ms + (start - self.filled) // ORDERS_A_MS, a_ms=ORDERS_A_MS))
            self.say(f"{self.sold() + end - self.filled:,} orders are written")
        self.filled += missing
        self.patch({"strategy": "lua"})
        self.wait_whole()
        self.check_written()

    def check_written(self):
        """The service reads an order that was written here: its id leads to the shard."""
        (order_id,), = self.stack.mysql(self.stack.mysql_sockets[0], ONE_SQL.format(sku=self.sku))
        status, body = self.stack.get("/v1/orders/" + order_id)
        if status != 200 or json.loads(body)["sku"] != self.sku:
            raise StackError(f"the order {order_id} was written and is not read: {status} {body.strip()[:300]}")

    def sold(self):
        """Orders, which are as many buyers. Those that are under way are not among them."""
        return self.filled + self.crowd.sold

    # --- changes under buyers ---

    def patch(self, changes):
        """Again until it is taken. Returns when it was first sent, when it was answered 200, and the other answers."""
        sent, refusals = time.monotonic(), []
        while True:
            status, body = self.stack.admin("PATCH", "/v1/items/" + self.sku, changes, CHANGED_WITHIN_S)
            if status == 200:
                return sent, time.monotonic(), refusals
            refusals.append(status)
            if time.monotonic() - sent > CHANGED_WITHIN_S:
                raise StackError(f"PATCH {changes} was answered {status} for {CHANGED_WITHIN_S} s: {body.strip()[:300]}")
            time.sleep(LOOK_EVERY_S)

    def wait(self, ready, what):
        deadline = time.monotonic() + CHANGED_WITHIN_S
        while not ready():
            if time.monotonic() >= deadline:
                raise StackError(f"after {CHANGED_WITHIN_S} s {what}")
            time.sleep(LOOK_EVERY_S)
        return time.monotonic()

    def is_whole(self):
        sold = self.sold()  # before Redis is asked: what is sold meanwhile does not count
        return (self.redis.entries(self.redis.buyers_key) or 0) >= sold

    def wait_whole(self):
        """Until the gate's table has all buyers."""
        self.stack.get("/v1/items/" + self.sku)  # a look at the item loads a gate that is not there
        return self.wait(self.is_whole, f"the gate's table of buyers has fewer than {self.sold():,} entries")

    def wait_201(self, since):
        return self.wait(lambda: buyers.first(self.crowd.answers, since) is not None, "no 201 has come")

    def change(self, name):
        """One change while the buyers buy: its record."""
        changes = CHANGES[name]
        if name == "limit":
            self.limit = 5 - self.limit
            changes = {"per_buyer_limit": self.limit}
        quiet_from = time.monotonic()
        time.sleep(QUIET_S)
        self.wait_201(quiet_from)
        sent, answered, refusals = self.patch(changes)
        whole = None if name == "lua_to_optimistic" else self.wait_whole()
        self.wait_201(answered)
        time.sleep(AFTER_S)
        return self.record(sent, quiet_from) | {
            "change": name, "change_ms": ms(answered - sent), "patch_refusals": refusals,
            "whole_ms": whole and ms(whole - sent)}

    def record(self, since, quiet_from):
        until, answers = time.monotonic(), self.crowd.answers
        before = [answer for answer in answers if answer.at <= since]
        return {"gap_ms": ms(buyers.gap(answers, since, until)), "quiet_gap_ms": ms(buyers.gap(before, quiet_from, since)),
                "others": {str(status): count for status, count in sorted(buyers.others(answers, since, until).items())}}

    def flushall(self):
        """Redis is emptied while nothing is under way, so that each 201 from then on was admitted by an empty one."""
        quiet_from = time.monotonic()
        time.sleep(QUIET_S)
        if not self.crowd.pause():
            raise StackError("buyers were not answered before FLUSHALL")
        sent = time.monotonic()
        self.stack.redis("FLUSHALL")
        emptied = time.monotonic()
        self.crowd.resume()
        self.wait_201(emptied)
        whole = self.wait_whole()
        time.sleep(AFTER_S)
        first = buyers.first(self.crowd.answers, emptied)
        return self.record(emptied, quiet_from) | {
            "change": FLUSHALL, "emptied_ms": ms(emptied - sent), "first_201_ms": ms(first - emptied),
            "whole_ms": ms(whole - emptied)}

    # --- audits ---

    def audit(self):
        """`holdfast audit`, of everything on the shard: its time, and how many orders it counted."""
        began = time.monotonic()
        done = subprocess.run([nodes.program_of(self.stack), "audit", "-c", str(Path(self.stack.directory) / "config.yaml")],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True)
        seconds = time.monotonic() - began
        if done.returncode != 0:
            raise StackError(f"holdfast audit ended with {done.returncode}: {(done.stdout + done.stderr).strip()[-800:]}")
        return {"audit_s": round(seconds, 3), "audited": json.loads(done.stdout)["totals"]["orders"]}

    def get_audit(self):
        began = time.monotonic()
        status, _ = self.stack.admin("GET", "/v1/audit")
        seconds = time.monotonic() - began
        if status != 200:
            raise StackError(f"GET /v1/audit was answered {status}")
        self.wait(lambda: self.audit_age() < time.monotonic() - began, "the audit that GET /v1/audit began has not ended")
        return round(seconds, 3)

    def audit_age(self):
        age = parse_metric(self.stack.metrics(), "holdfast_audit_age_seconds")
        return float("inf") if age is None else age

    def beside(self, turn, client):
        """The rates of a sale of another item, alone and beside an audit, in turns in either order."""
        other = Target(sale.fresh_sku("beside"), TERMS)
        self.stack.put_item(other.name, TERMS)

        def sell(word, seconds):
            answers = rush.drive(rush.Rush(self.stack.url, seconds, client.connections, client.threads, "buy",
                                           other.name, 1, word))
            other.told({}, answers.good, answers.unheard)
            return answers.good / answers.seconds

        def with_audit():
            with ThreadPoolExecutor(1) as pool:
                found = pool.submit(self.audit)
                rate = sell("a", client.seconds)
                return rate, found.done(), found.result()

        sell("w", client.warm_up_s)
        if turn % 2:
            alone, (beside, early, found) = sell("o", client.seconds), with_audit()
        else:
            (beside, early, found), alone = with_audit(), sell("o", client.seconds)
        findings = tally.take(self.stack, other)
        return found | {"alone_per_s": round(alone), "beside_per_s": round(beside), "beside_ratio": round(beside / alone, 3),
                        "audit_ended_early": early, "wrong": findings.wrong()}

    # --- what it takes ---

    def sizes(self):
        entries, used = self.redis.size(self.redis.buyers_key)
        table, = (int(row[1]) for row in self.stack.mysql(self.stack.mysql_sockets[0], BYTES_SQL) if row[0] == "bytes")
        return {"buyers": entries, "bytes_per_buyer": round(used / max(1, entries), 1), "redis_mb": round(used / 2**20, 1),
                "mysql_mb": round(table / 2**20, 1), "mysql_bytes_per_order": round(table / max(1, self.sold()), 1),
                "rss_mb": round(resident(self.stack) / 2**20, 1),
                "rss_most_mb": round(resident(self.stack, "VmHWM") / 2**20, 1)}

    def wrong(self):
        """The audit by counts, against what all buyers were told."""
        answers = self.crowd.answers
        self.target.told_201 = self.sold()
        self.target.told_202 = sum(1 for answer in answers if answer.status == 202)
        self.target.unheard = sum(1 for answer in answers if answer.status == buyers.NO_ANSWER or answer.status >= 500)
        return tally.take(self.stack, self.target).wrong()


def ms(seconds):
    return None if seconds is None else round(1000 * seconds, 1)


def measure_size(item, orders, arguments, runs):
    """All rounds of one size; the record of what it takes, or of why it could not be measured."""
    try:
        return measure_rounds(item, orders, arguments, runs)
    except StackError as error:
        item.say(f"{orders:,} orders: {error}")
        return {"orders": orders, "failed": str(error)}


def measure_rounds(item, orders, arguments, runs):
    item.fill(orders)
    before = item.audit()
    for turn in range(1, arguments.rounds + 1):
        item.crowd.resume()
        for name in WORDS:
            load, began = Load(item.stack), time.monotonic()
            try:
                run = item.flushall() if name == FLUSHALL else item.change(name)
            except StackError as error:  # the gap is at least so long
                runs.append({"orders": orders, "round": turn, "change": name, "failed": str(error),
                             "gap_ms": ms(time.monotonic() - began)} | load.read())
                raise
            runs.append({"orders": orders, "round": turn} | run | load.read())
            item.say(f"round {turn}  {told(runs[-1])}")
        item.crowd.pause()
        load = Load(item.stack)
        run = {"change": "audit"} | item.audit() | {"get_audit_s": item.get_audit()}
        runs.append({"orders": orders, "round": turn} | run | load.read())
        item.say(f"round {turn}  audit of {run['audited']:,} orders {run['audit_s']:.1f} s, GET {run['get_audit_s']:.2f} s")
    return {"orders": orders, "first_audit_s": before["audit_s"]} | item.sizes()


def measure_beside(item, orders, arguments, runs):
    quiet = median(run["audit_s"] for run in runs if run["change"] == "audit" and run["orders"] == orders)
    # The sale ends before the audit does.
    client = Client(arguments.connections, arguments.threads, max(0.5, min(arguments.seconds, 0.8 * quiet)), 1)
    for turn in range(1, arguments.rounds + 1):
        load = Load(item.stack)
        run = {"orders": orders, "round": turn, "change": "beside"} | item.beside(turn, client)
        runs.append(run | load.read())
        item.say(f"round {turn}  beside an audit of {run['audit_s']:.1f} s {run['beside_per_s']:,} orders/s,"
                 f" alone {run['alone_per_s']:,}")


def told(run):
    first = f", first 201 after {run['first_201_ms']:,.0f} ms" if "first_201_ms" in run else ""
    other = ", ".join(f"{count} x {status}" for status, count in run["others"].items())
    return (f"{WORDS[run['change']]:<22} longest gap {run['gap_ms']:>8,.0f} ms (before it {run['quiet_gap_ms']:,.0f} ms)"
            f"{first}{'; ' + other if other else ''}; others {run['others_cores']:.1f} cores")


def measure(stack, arguments, runs):
    """Appends to `runs`; returns what each size takes, and what is wrong in the end."""
    def say(what):
        print("  " + what, flush=True)

    item, sizes = Large(stack, say), []
    with item.crowd:
        for orders in arguments.orders:
            sizes.append(measure_size(item, orders, arguments, runs))
            if "failed" in sizes[-1]:
                return sizes, {f"{orders:,} orders": sizes[-1]["failed"]}
        measure_beside(item, arguments.orders[-1], arguments, runs)
    return sizes, item.wrong() | {f"beside: {name}": number for run in runs for name, number in run.get("wrong", {}).items()}
