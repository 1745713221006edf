"""What a measurement of large items says together: medians with their spread, beside their bounds. Pure."""

from . import bounds, comparison
from .large import FLUSHALL, WORDS
from .taken import RSS_FROM

# A bound holds for items of so many orders and more. The least of them that was measured is not judged.
BOUND_FROM = {"change_gap": 1_000_000, "first_201": 0, "audit": 0, "get_audit": 0, "beside_audit": 0}
# Changes of an item, which all have the same bound.
CHANGES = tuple(name for name in WORDS if name != FLUSHALL)


def values(found, orders, change, member):
    return [run[member] for run in found["runs"]
            if run["orders"] == orders and run["change"] == change and run.get(member) is not None]


def worst(spreads, bound):
    """The median that is farthest from the good side, with its spread; None of nothing."""
    spreads = [spread for spread in spreads if spread]
    pick = max if bound.side == bounds.AT_MOST else min
    return pick(spreads, key=lambda spread: spread["median"], default=None)


def judged(found):
    """Each bound as data, of the largest size that has it."""
    rows = []
    for bound in bounds.LARGE:
        of = CHANGES if bound.of == "change" else (bound.of,)
        spreads = [bounds.spread(values(found, size["orders"], change, bound.member))
                   for size in found["sizes"] if size["orders"] >= BOUND_FROM[bound.name] for change in of]
        value = worst(spreads, bound)
        if not any(spreads[-len(of):]) and bounds.judge(bound, value and value["median"]) != bounds.MISSED:
            value = None  # of the largest size nothing is known
        rows.append({"name": bound.name, "words": bound.words, "unit": bound.unit, "value": value, "side": bound.side,
                     "bound": bound.bound, "aim": bound.aim, "verdict": bounds.judge(bound, value and value["median"])})
    taken = found["taken"]
    if taken and taken["orders"] >= RSS_FROM:
        growth, bound = taken["rss_growth_mb"], bounds.RSS_GROWTH
        rows.append({"name": bound.name, "words": bound.words, "unit": bound.unit,
                     "value": bounds.spread([growth]), "side": bound.side, "bound": bound.bound, "aim": bound.aim,
                     "verdict": bounds.judge(bound, growth)})
    return rows


def answers(found, orders, change):
    """What was answered besides 201, over all rounds."""
    total = {}
    for run in found["runs"]:
        if run["orders"] == orders and run["change"] == change:
            for status, count in run.get("others", {}).items():
                total[status] = total.get(status, 0) + count
    return ", ".join(f"{count:,} x {status}" for status, count in sorted(total.items()))


def cell(found, orders, change, member, digits=0):
    return comparison.spread(bounds.spread(values(found, orders, change, member)), digits)


def changes_table(found):
    lines = [["orders", "change", "longest gap, ms", "before it, ms", "first 201, ms", "all buyers loaded, ms",
              "answers other than 201", "others, cores"]]
    for size in found["sizes"]:
        orders = size["orders"]
        for change, words in WORDS.items():
            if not values(found, orders, change, "gap_ms"):
                continue
            cells = [cell(found, orders, change, member) for member in ("gap_ms", "quiet_gap_ms", "first_201_ms", "whole_ms")]
            lines.append([f"{orders:,}", words, *cells, answers(found, orders, change),
                          cell(found, orders, change, "others_cores", 1)])
    return comparison.markdown_table(lines)


def measured(found):
    """The sizes that could be measured."""
    return [size for size in found["sizes"] if "failed" not in size]


def sizes_table(found):
    lines = [["orders", "Redis, bytes a buyer", "Redis, MB", "MySQL, bytes an order", "service now, MB", "at most, MB",
              "holdfast audit, s", "of orders", "GET /v1/audit, s"]]
    for size in measured(found):
        orders = size["orders"]
        cells = [f"{size[name]:,g}" for name in ("bytes_per_buyer", "redis_mb", "mysql_bytes_per_order", "rss_mb",
                                                 "rss_most_mb")]
        lines.append([f"{orders:,}", *cells, cell(found, orders, "audit", "audit_s", 2),
                      cell(found, orders, "audit", "audited"), cell(found, orders, "audit", "get_audit_s", 2)])
    return comparison.markdown_table(lines)


def beside_line(found):
    orders = found["sizes"][-1]["orders"]

    def of(member, digits=0):
        return cell(found, orders, "beside", member, digits)
    return (f"Beside an audit, which then takes {of('audit_s', 1)} s, another item sells {of('beside_per_s')} orders/s,"
            f" alone {of('alone_per_s')}: {of('beside_ratio', 2)} of it.")


def taken_lines(taken):
    def number(value):
        return "not seen" if value is None else f"{value:,} bytes"
    return f"""{taken["orders"]:,} orders over HTTP:
- service: {taken["rss_before_mb"]:g} MB resident, then {taken["rss_after_mb"]:g} MB, at rest {taken["rss_rested_mb"]:g} MB: {taken["rss_growth_mb"]:g} MB more
- Redis, an unsettled order: {number(taken["bytes_per_unsettled"])} (of at most {taken["unsettled_most"]:,} at a time)
- Redis, a buyer: {number(taken["bytes_per_buyer"])} (of {taken["buyers"]:,}); in all {taken["redis_growth_mb"]:g} MB more than before"""


def render(found):
    about = found["machine"]
    parts = [f"{found['taken_at']}, commit {found['commit']}. {about['model']}, {about['cores']} cores; median (min..max) of"
             f" {found['rounds']} round(s)."]
    if found["taken"]:
        parts.append(taken_lines(found["taken"]))
    if found["sizes"]:
        parts += [changes_table(found), sizes_table(found)]
    if measured(found) == found["sizes"] != []:
        parts.append(beside_line(found))
    parts.append(comparison.bounds_table(found["bounds"]))
    parts.append("audit: " + (f"WRONG: {found['wrong']}" if found["wrong"] else "ok"))
    return "\n\n".join(parts)
