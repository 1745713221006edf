"""The audit after a sale, taken from MySQL and Redis themselves, never from the service.

read_books() and settle_down() ask the servers; examine() is a pure function of what they said.
"""

import time
from collections import Counter
from dataclasses import asdict, dataclass, field

from .stack import GATE_STRATEGIES, StackError

LIVE = ("held", "confirmed")
OUTSIDE_THE_WINDOW = ("409 sale_not_started", "409 sale_ended")
QUIET_WITHIN_S = 10
LOOK_EVERY_S = 0.2
GATE_FIELDS = ("epoch", "closed", "capacity", "reserved", "unreserved", "settled", "released")


@dataclass(frozen=True)
class Row:
    """One row of inventory."""

    slot: int
    bucket: int
    total: int
    allocated: int  # allocated_total - released_total
    per_buyer_limit: int
    epoch: int
    strategy: str


@dataclass(frozen=True)
class Order:
    state: str
    quantity: int
    buyer: str


@dataclass
class Books:
    """An item in one consistent snapshot per shard."""

    rows: list = field(default_factory=list)
    orders: dict = field(default_factory=dict)  # order id -> Order


@dataclass
class Gate:
    """Redis beside MySQL, once they were quiet or the time for that was up."""

    drift: int | None  # None: cannot be told
    unsettled: int = 0
    note: str = ""


@dataclass
class Findings:
    """What is wrong, and the numbers around it. The first four are the audit of the load-test result."""

    oversold: int = 0       # live units beyond the total
    lost: int = 0           # answered 201 and not live in MySQL
    duplicated: int = 0     # ids answered twice, and buyers with more than one attempt or the limit allows
    drift: int | None = 0   # units between the gate and MySQL
    unbalanced: int = 0     # units between inventory's totals and its live orders
    undecided: int = 0      # answered 202 and in MySQL in no state at all
    refused_live: int = 0   # live orders of buyers who were told no
    unsold: int = 0         # units left although buyers were told sold_out, or enough of them came
    live_orders: int = 0
    live_units: int = 0
    later_live: int = 0     # answered 202 and live now; the others of them were rejected
    notes: list = field(default_factory=list)

    def wrong(self):
        """{name: number} of what is broken."""
        numbers = {name: number for name, number in asdict(self).items()
                   if name not in ("live_orders", "live_units", "later_live", "notes")}
        return {name: number for name, number in numbers.items() if number != 0}


ORDER_UUID = "INSERT(INSERT(INSERT(INSERT(LOWER(HEX(order_id)), 9, 0, '-'), 14, 0, '-'), 19, 0, '-'), 24, 0, '-')"
ROWS_SQL = ("SELECT 'row', slot, bucket, total, allocated_total - released_total, per_buyer_limit, epoch, strategy"
            " FROM inventory WHERE sku = '{sku}' ORDER BY bucket;\n")
BOOKS_SQL = ("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ;\n"
             "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY;\n" + ROWS_SQL +
             "SELECT 'order', " + ORDER_UUID + ", state, quantity, buyer_id FROM orders WHERE sku = '{sku}';\nCOMMIT;\n")


def read_books(stack, sku, statements=BOOKS_SQL):
    books = Books()
    for socket in stack.mysql_sockets:
        for kind, *values in stack.mysql(socket, statements.format(sku=sku)):
            if kind == "row":
                books.rows.append(Row(*map(int, values[:6]), values[6]))
            else:
                order_id, state, quantity, buyer = values
                books.orders[order_id] = Order(state, int(quantity), buyer)
    return books


def read_rows(stack, sku):
    return read_books(stack, sku, ROWS_SQL).rows


def settle_down(stack, sku):
    """Waits until gate and MySQL agree and nothing is under way; what they say when the time is up, otherwise."""
    deadline = time.monotonic() + QUIET_WITHIN_S
    while True:
        rows = patiently(lambda: read_rows(stack, sku))
        gate = patiently(lambda: compare_gate(stack, sku, rows))
        if gate.drift == 0 and gate.unsettled == 0 and rows == patiently(lambda: read_rows(stack, sku)):
            return gate
        if time.monotonic() >= deadline:
            return gate
        nudge(stack, sku)
        time.sleep(LOOK_EVERY_S)


def patiently(ask):
    """Asks again for some seconds when a server cannot be asked: it may be starting anew after a fault."""
    deadline = time.monotonic() + QUIET_WITHIN_S
    while True:
        try:
            return ask()
        except StackError:
            if time.monotonic() >= deadline:
                raise
        time.sleep(LOOK_EVERY_S)


def nudge(stack, sku):
    """Someone looks at the item: a gate that was not loaded since the last change of strategy now is."""
    try:
        stack.get("/v1/items/" + sku)
    except StackError:
        pass


def compare_gate(stack, sku, rows):
    whole = Gate(drift=0)
    for row in rows:
        if row.strategy not in GATE_STRATEGIES:
            whole.note = f"none: {row.strategy} leaves Redis out"
            continue
        key = f"hf:{{{row.slot}}}:gate:{sku}:{row.bucket}"
        words = stack.redis("HGETALL", key)
        one = invariant_b(row, dict(zip(words[::2], words[1::2])))
        whole.unsettled += one.unsettled
        whole.note = whole.note or one.note
        whole.drift = None if None in (whole.drift, one.drift) else whole.drift + one.drift
    return whole


def invariant_b(row, fields):
    """Available in the gate = total - allocated - unsettled. Pure."""
    if not fields:
        return Gate(None, note="there is no gate in Redis") if row.allocated else Gate(0)  # the first purchase builds it
    if fields.get("closed", "0") not in ("", "0"):
        return Gate(None, note="the gate is closed")
    if int(fields["epoch"]) != row.epoch:
        return Gate(None, note=f"the gate is of epoch {fields['epoch']}, its row of {row.epoch}")
    capacity, reserved, unreserved, settled, released = (
        int(fields.get(name, 0)) for name in ("capacity", "reserved", "unreserved", "settled", "released"))
    available = capacity - reserved + unreserved + released
    unsettled = reserved - unreserved - settled
    note = f"{unsettled} units stayed unsettled" if unsettled else ""
    return Gate(abs(available - (row.total - row.allocated - unsettled)), unsettled, note)


def examine(books, gate, crowd, terms, earlier=frozenset()):
    """What a sale of one attempt a buyer should have left behind, against what it did. Pure.

    `earlier` are the ids of the orders that were there before the crowd came.
    """
    live = {order_id: order for order_id, order in books.orders.items() if order.state in LIVE}
    units = sum(order.quantity for order in live.values())
    total = sum(row.total for row in books.rows)
    kept = LIVE if terms["hold_seconds"] == 0 else LIVE + ("expired",)
    answered = crowd.answered_201 + crowd.answered_202
    findings = Findings(live_orders=len(live), live_units=units, drift=gate.drift)
    findings.oversold = max(0, units - total)
    findings.lost = sum(1 for order_id in set(crowd.answered_201)
                        if order_id not in books.orders or books.orders[order_id].state not in kept)
    findings.duplicated = len(answered) - len(set(answered)) + greedy_buyers(live, terms["per_buyer_limit"], earlier)
    findings.unbalanced = abs(sum(row.allocated for row in books.rows) - units)
    findings.later_live = sum(1 for order_id in set(crowd.answered_202) if order_id in live)
    findings.undecided = sum(1 for order_id in set(crowd.answered_202) if order_id not in books.orders)
    unheard = crowd.unanswered + crowd.unsent + crowd.server_errors  # nobody was told how these attempts ended
    findings.refused_live = max(0, len(live.keys() - set(answered) - earlier) - unheard)
    if terms["hold_seconds"] == 0 and not unheard and should_be_sold_out(crowd, total, terms["quantity"]):
        left = max(0, total - units)
        findings.unsold = left if left >= terms["quantity"] else 0
    if gate.note:
        findings.notes.append("gate: " + gate.note)
    if not books.rows:
        findings.notes.append("MySQL has no such item")
    return findings


def should_be_sold_out(crowd, total, quantity):
    turned_away = sum(count for answer, count in crowd.refused.items()
                      if answer.startswith("429 ") or answer in OUTSIDE_THE_WINDOW)
    return crowd.sold_out > 0 or (crowd.answered - turned_away) * quantity >= total


def greedy_buyers(orders, per_buyer_limit, earlier):
    """Buyers with more than one live order for their one attempt, or with it more units than the limit."""
    attempts, units = Counter(), Counter()
    for order_id, order in orders.items():
        attempts[order.buyer] += order_id not in earlier
        units[order.buyer] += order.quantity
    return sum(1 for buyer, count in attempts.items() if count > 1 or (count and 0 < per_buyer_limit < units[buyer]))


def take(stack, sku, crowd, terms, earlier=frozenset()):
    """The whole audit. Orders answered 202 get the same time to end as the gate has to be quiet."""
    gate = settle_down(stack, sku)
    deadline = time.monotonic() + QUIET_WITHIN_S
    while True:
        findings = examine(patiently(lambda: read_books(stack, sku)), gate, crowd, terms, earlier)
        if findings.undecided == 0 or time.monotonic() >= deadline:
            return findings
        time.sleep(LOOK_EVERY_S)
