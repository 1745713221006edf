"""The audit of a rush, by counts: what MySQL and Redis hold of its items against how many buyers were told what.

Every attempt of a rush is of another buyer (or, where the item has no limit, they are all of one), so counts
suffice to find orders that are lost, oversold or too many; spike compares the ids themselves.
read() and settle() ask the servers; examine() is a pure function of what they said.
"""

import time
from dataclasses import dataclass

from .audit import GATE_FIELDS, LIVE, LOOK_EVERY_S, QUIET_WITHIN_S, Findings, Gate, Row, invariant_b, patiently
from .stack import GATE_STRATEGIES, StackError


@dataclass
class Target:
    """One item, or `items` of them whose names are `name` and a number, with all that their buyers were told."""

    name: str
    terms: dict
    items: int = 1
    told_201: int = 0
    told_202: int = 0
    unheard: int = 0      # nobody was told how these attempts ended
    sold_out: int = 0
    one_buyer: bool = False

    def skus(self):
        return [self.name] if self.items == 1 else [f"{self.name}{number:05d}" for number in range(self.items)]

    def where(self, column="sku"):
        return f"{column} = '{self.name}'" if self.items == 1 else f"{column} LIKE '{self.name}%'"

    def told(self, statuses, good, unheard):
        """What one run adds. `good` is the client's own count; of it the service says how many were 202."""
        later = min(good, statuses.get(202, 0))
        self.told_202 += later
        self.told_201 += good - later
        self.unheard += unheard + sum(count for status, count in statuses.items() if status >= 500)
        self.sold_out += statuses.get(409, 0)


@dataclass
class Books:
    total: int = 0
    live_orders: int = 0
    live_units: int = 0
    rejected: int = 0
    oversold: int = 0      # live units beyond the total, item by item
    unbalanced: int = 0    # units between inventory's totals and live orders, item by item
    greedy: int = 0        # buyers with more than one live order of an item


BOOKS_SQL = """SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ;
START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY;
SELECT COALESCE(SUM(i.total), 0), COALESCE(SUM(o.orders), 0), COALESCE(SUM(o.units), 0), COALESCE(SUM(o.rejected), 0),
  COALESCE(SUM(GREATEST(0, COALESCE(o.units, 0) - i.total)), 0),
  COALESCE(SUM(ABS(i.allocated_total - i.released_total - COALESCE(o.units, 0))), 0)
FROM inventory i LEFT JOIN (
  SELECT sku, bucket, SUM(state IN {live}) orders, SUM(IF(state IN {live}, quantity, 0)) units,
    SUM(state = 'rejected') rejected FROM orders WHERE {where} GROUP BY sku, bucket
) o USING (sku, bucket) WHERE {where_i};
SELECT COUNT(*) FROM (SELECT 1 FROM orders WHERE {where} AND state IN {live}
  GROUP BY sku, buyer_id HAVING COUNT(*) > 1) greedy;
COMMIT;
"""
ROWS_SQL = ("SELECT sku, slot, bucket, total, allocated_total - released_total, per_buyer_limit, epoch, strategy"
            " FROM inventory WHERE {where};\n")


def read(stack, target):
    books = Books()
    statements = BOOKS_SQL.format(live=str(LIVE), where=target.where(), where_i=target.where("i.sku"))
    for socket in stack.mysql_sockets:
        sums, (greedy,) = stack.mysql(socket, statements)
        names = ("total", "live_orders", "live_units", "rejected", "oversold", "unbalanced")
        for name, value in zip(names, sums):
            setattr(books, name, getattr(books, name) + int(value))
        books.greedy += int(greedy)
    return books


def read_rows(stack, target):
    """[(sku, Row)]"""
    return [(sku, Row(*map(int, numbers), strategy)) for socket in stack.mysql_sockets
            for sku, *numbers, strategy in stack.mysql(socket, ROWS_SQL.format(where=target.where()))]


def read_gates(stack, rows):
    """For each (sku, Row) the gate's fields, in one call of redis-cli."""
    commands = "".join(f"HMGET hf:{{{row.slot}}}:gate:{sku}:{row.bucket} {' '.join(GATE_FIELDS)}\n" for sku, row in rows)
    lines = stack.redis(commands=commands)
    width = len(GATE_FIELDS)
    if len(lines) != width * len(rows):
        raise StackError(f"Redis answered {len(lines)} fields instead of {width * len(rows)}")
    return [{name: value for name, value in zip(GATE_FIELDS, lines[at:at + width]) if value}
            for at in range(0, len(lines), width)]


def compare_gates(rows, gates):
    """All gates beside their rows as one Gate. Pure."""
    whole = Gate(drift=0)
    for (_, row), fields in zip(rows, gates):
        if row.strategy not in GATE_STRATEGIES:
            continue
        one = invariant_b(row, fields)
        whole.unsettled += one.unsettled
        whole.note = whole.note or one.note
        whole.drift = None if None in (whole.drift, one.drift) else whole.drift + one.drift
    return whole


def settle(stack, target, within_s=QUIET_WITHIN_S):
    """Waits until gates and MySQL agree and nothing is under way; what they say when the time is up, otherwise.

    Within so long something must move: a long queue of accepted orders may take its time.
    """
    deadline, last = time.monotonic() + within_s, None
    while True:
        rows = patiently(lambda: read_rows(stack, target))
        gate = compare_gates(rows, patiently(lambda: read_gates(stack, rows)))
        allocated = sum(row.allocated for _, row in rows)
        if gate.drift == 0 and gate.unsettled == 0 and allocated == last:
            return gate
        if allocated != last:
            deadline, last = time.monotonic() + within_s, allocated
        if time.monotonic() >= deadline:
            return gate
        if gate.drift is None:
            stack.get("/v1/items/" + target.skus()[0])  # someone looks: a gate that was not loaded now is
        time.sleep(LOOK_EVERY_S)


def examine(books, gate, target):
    """Pure."""
    findings = Findings(live_orders=books.live_orders, live_units=books.live_units, drift=gate.drift)
    told = target.told_201 + target.told_202
    findings.oversold = books.oversold
    findings.unbalanced = books.unbalanced
    findings.lost = max(0, target.told_201 - books.live_orders)
    findings.undecided = max(0, told - books.live_orders - books.rejected - findings.lost)
    findings.duplicated = 0 if target.one_buyer else books.greedy
    findings.refused_live = max(0, books.live_orders - told - target.unheard)
    if target.sold_out and not target.unheard:
        findings.unsold = max(0, books.total - books.live_units)
    findings.later_live = min(target.told_202, max(0, books.live_orders - target.told_201))
    if gate.note:
        findings.notes.append("gate: " + gate.note)
    return findings


def take(stack, target):
    gate = settle(stack, target)
    return examine(patiently(lambda: read(stack, target)), gate, target)
