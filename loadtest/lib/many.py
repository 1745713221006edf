"""Very many items: their rows, written by SQL, one purchase of each, and what their measurement is held to."""

import json
import socket
import threading
import time
import urllib.parse

from . import bounds
from .stack import StackError

BOUND_FROM = 100_000
SLOTS = 1024
ROWS_A_STATEMENT = 1000
CALL_TIMEOUT_S = 60
MASK = (1 << 64) - 1
# Bytes 24 to 55 of the default secret of XXH3, as words.
SECRET = tuple(int.from_bytes(bytes.fromhex(word), "little") for word in (
    "7240a4a4b7b3671f", "cb79e64eccc0e578", "825ad07dccff7221", "b8084674f743248e"))


def name_of(prefix, number):
    """Of 9 to 16 bytes, as slot_of() needs."""
    return f"{prefix}{number:08d}"


def slot_of(sku):
    """XXH3-64 modulo 1,024, as service/sale/shard_map.h has it; here only of names of 9 to 16 bytes."""
    data = sku.encode()
    assert 9 <= len(data) <= 16
    low = int.from_bytes(data[:8], "little") ^ SECRET[0] ^ SECRET[1]
    high = int.from_bytes(data[-8:], "little") ^ SECRET[2] ^ SECRET[3]
    product = low * high
    swapped = int.from_bytes(low.to_bytes(8, "little"), "big")
    mixed = (len(data) + swapped + high + ((product & MASK) ^ (product >> 64))) & MASK
    mixed = ((mixed ^ (mixed >> 37)) * 0x165667919E3779F9) & MASK
    return (mixed ^ (mixed >> 32)) % SLOTS


def insert_texts(items, strategy, total):
    """INSERT statements of (sku, slot) pairs, as a PUT would write their rows."""
    for at in range(0, len(items), ROWS_A_STATEMENT):
        rows = ",".join(f"('{sku}',0,{slot},{total},CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS UNSIGNED),1,0,'{strategy}',"
                        "'committed',NOW(3),NOW(3))" for sku, slot in items[at:at + ROWS_A_STATEMENT])
        yield ("INSERT INTO inventory (sku, bucket, slot, total, epoch, per_buyer_limit, hold_seconds, strategy,"
               f" acknowledge, created_at, updated_at) VALUES {rows};\n")


def shards_of(status):
    """The first and last slot of each shard, by the answer of GET /v1/status."""
    return [tuple(map(int, shard["slots"].split("-"))) for shard in status["shards"]]


def insert(stack, skus, strategy="lua", total=1000):
    status = json.loads(stack.admin("GET", "/v1/status")[1])
    items = [(sku, slot_of(sku)) for sku in skus]
    for (first, last), server in zip(shards_of(status), stack.mysql_sockets):
        mine = [item for item in items if first <= item[1] <= last]
        stack.mysql(server, "".join(insert_texts(mine, strategy, total)) + "ANALYZE TABLE inventory;\n")


# --- one purchase of each ---

def order_text(host, sku):
    body = json.dumps({"sku": sku, "buyer_id": "many", "quantity": 1})
    return (f"POST /v1/orders HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}").encode()


def status_and_end(answer):
    """(status, bytes of the whole answer), or None while it is not complete. Pure."""
    head, found, _ = answer.partition(b"\r\n\r\n")
    if not found:
        return None
    length = next(int(line.partition(b":")[2]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
    end = len(head) + 4 + length
    return (int(head[9:12]), end) if len(answer) >= end else None


class Buyers:
    """So many connections to one node, each buying one item after the other."""

    def __init__(self, url, skus, connections):
        parts = urllib.parse.urlsplit(url)
        self.address, self.host = (parts.hostname, parts.port), parts.netloc
        self.skus, self.mutex, self.answers, self.failure = iter(skus), threading.Lock(), {}, None
        self.threads = [threading.Thread(target=self._run) for _ in range(connections)]
        for thread in self.threads:
            thread.start()

    def _next(self, status=None):
        with self.mutex:
            if status is not None:
                self.answers[status] = self.answers.get(status, 0) + 1
            return next(self.skus, None)

    def _run(self):
        try:
            with socket.create_connection(self.address, CALL_TIMEOUT_S) as connection:
                sku = self._next()
                while sku is not None:
                    sku = self._next(self._buy(connection, sku))
        except (OSError, ValueError, StopIteration) as error:
            self.failure = f"a purchase at {self.host} failed: {error!r}"

    def _buy(self, connection, sku):
        connection.sendall(order_text(self.host, sku))
        answer = b""
        while (found := status_and_end(answer)) is None:
            more = connection.recv(65536)
            if not more:
                raise OSError("the connection was closed")
            answer += more
        return found[0]

    def join(self):
        for thread in self.threads:
            thread.join()
        if self.failure:
            raise StackError(self.failure)
        return self.answers


def buy_each(stack, skus, connections):
    """One purchase of each item, shared out among the nodes: ({status: count}, seconds)."""
    began, urls = time.monotonic(), stack.urls()
    crowds = [Buyers(url, skus[at::len(urls)], connections) for at, url in enumerate(urls)]
    answers = {}
    for crowd in crowds:
        for status, count in crowd.join().items():
            answers[status] = answers.get(status, 0) + count
    return answers, time.monotonic() - began


# --- the bounds ---

def derived(found):
    """What the bounds are about. Pure."""
    sold, unasked = found["sold"], found["unasked"]
    node_percent = [max(value for name, value in part["percent"].items() if name.startswith("node"))
                    for part in (unasked, sold)]
    count = len(sold["nodes_mb"])
    servers = [sum(part["percent"][name] for name in ("Redis", "MariaDB")) / count for part in (unasked, sold)]
    bought = sum(found["purchases"]["answers"].values())
    growth = sum(sold["nodes_mb"]) - sum(unasked["nodes_mb"])
    rate = sold["a_second"]["compared"]
    return {"ready_s": max(found["ready_s"], default=None), "node_percent": max(node_percent),
            "servers_percent": round(max(servers), 2), "gates_unasked": unasked["gates"],
            "node_bytes_per_item": round(growth * 2**20 / bought) if bought else None,
            "redis_bytes_per_item": round((sold["redis_mb"] - unasked["redis_mb"]) * 2**20 / bought) if bought else None,
            "round_s": round(found["items"] / rate) if rate else None,
            "metrics_ms": found["metrics"]["ms"], "metrics_bytes": found["metrics"]["bytes"],
            "status_ms": found["status"]["ms"], "epoch_poll_read": found["epoch_poll"]["read"]}


def misses(found):
    """Whether a bound is missed, of those that the size of this measurement can hold to. Pure."""
    values = derived(found)
    return found["items"] >= BOUND_FROM and any(
        bounds.judge(bound, values[bound.member]) == bounds.MISSED for bound in bounds.MANY_ITEMS)
