"""What many sales say together: medians, ratios, the table and the chart. Pure, but for the chart's gnuplot."""

import shutil
import subprocess
from statistics import median

from stack import STRATEGIES

ORDERS, SOLD_OUT = "orders", "sold_out"  # the two kinds of runs

# Column of the table -> (kind of run, member of the run, decimals).
COLUMNS = {
    "committed orders/s": (ORDERS, "orders_per_s", 0),
    "p50 ms": (ORDERS, "p50_ms", 1),
    "p99 ms": (ORDERS, "p99_ms", 1),
    "aborts per 1,000 orders": (ORDERS, "aborts_per_1000", 0),
    "retries per 1,000 orders": (ORDERS, "retries_per_1000", 0),
    "sold-out answers/s": (SOLD_OUT, "sold_out_per_s", 0),
}


def run_record(kind, round_number, outcome):
    """A load-test result with what the comparison adds."""
    record = outcome.as_json()
    thousands = max(1, record["accepted"]) / 1000
    return record | {
        "kind": kind,
        "round": round_number,
        "sold_out_per_s": round(outcome.sold_out_per_s, 1),
        "p50_ms": record["latency_ms"]["p50"],
        "p99_ms": record["latency_ms"]["p99"],
        "aborts_per_1000": round(record["aborts"] / thousands, 2),
        "retries_per_1000": round(record["retries"] / thousands, 2),
    }


def values_of(runs, strategy, kind, member):
    return [run[member] for run in runs if run["strategy"] == strategy and run["kind"] == kind]


def summarize(runs):
    """{strategy: {column: {"median", "min", "max"}}}"""
    summary = {}
    for strategy in STRATEGIES:
        summary[strategy] = {}
        for column, (kind, member, _) in COLUMNS.items():
            values = values_of(runs, strategy, kind, member)
            summary[strategy][column] = {"median": median(values), "min": min(values), "max": max(values)}
    return summary


def ratios(runs, ceilings):
    """Medians of the ratios within each round: what slows the machine for a while slows both sides of one."""
    orders = {strategy: values_of(runs, strategy, ORDERS, "orders_per_s") for strategy in STRATEGIES}
    sold_out = {strategy: values_of(runs, strategy, SOLD_OUT, "sold_out_per_s") for strategy in STRATEGIES}
    found = {f"lua_to_{other}_orders": ratio(orders["lua"], orders[other]) for other in STRATEGIES if other != "lua"}
    found |= {f"{strategy}_orders_to_ceiling": ratio(orders[strategy], ceilings) for strategy in STRATEGIES}
    found |= {f"{strategy}_sold_out_to_ceiling": ratio(sold_out[strategy], ceilings) for strategy in STRATEGIES}
    return found


def ratio(ones, others):
    by_round = [one / other for one, other in zip(ones, others) if other]
    return round(median(by_round), 4) if by_round else None


def spread(values, decimals):
    middle, low, high = (f"{values[name]:,.{decimals}f}" for name in ("median", "min", "max"))
    return middle if low == high else f"{middle} ({low} - {high})"


def wrongs(run):
    """What makes a run a failure, however fast it was: words. Errors that were answered are shown, not judged."""
    stopped = ["stopped answering"] if run["ended"] in ("stalled", "gone") else []
    return [name for name, number in run["audit"].items() if number != 0] + stopped


def verdict_of(runs, strategy):
    """"ok", or what its runs got wrong."""
    mine = [run for run in runs if run["strategy"] == strategy]
    wrong = sorted({name for run in mine for name in wrongs(run)})
    errors = sum(run["errors"] for run in mine)
    if wrong:
        return "WRONG: " + ", ".join(wrong)
    return f"ok, {errors:,} errors" if errors else "ok"


def table(runs, summary):
    lines = [["strategy", *COLUMNS, "audit"]]
    for strategy in STRATEGIES:
        cells = [spread(summary[strategy][column], decimals) for column, (_, _, decimals) in COLUMNS.items()]
        lines.append([strategy, *cells, verdict_of(runs, strategy)])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |"
                     for line in lines)


def render(result, chart=""):
    """The whole comparison as Markdown."""
    machine, setup, found = result["machine"], result["setup"], result["ratios"]
    ceiling = spread(result["ceiling"], 0)
    factors = ", ".join(f"{shown(found[f'lua_to_{other}_orders'])} x {other}" for other in STRATEGIES if other != "lua")
    steal = [run["steal_percent"] for run in result["runs"]]
    return f"""# Holdfast: the four strategies in one run

{result["taken_at"]}, {machine["model"]}, {machine["cores"]} cores, Linux {machine["kernel"]};
service, MySQL, Redis and the load all on this machine; steal at most {max(steal):g} % in a run.
Median (min - max) of {setup["rounds"]} round(s), in each all strategies in turn; ratios are medians of those within
a round. {setup["connections"]} connections, {setup["threads"]} wrk thread(s).

{table(result["runs"], result["summary"])}

- **Bare HTTP ceiling** (GET /healthz of the same service, no Lua in wrk): {ceiling} requests/s.
- **Committed orders/s, lua against the others**: {factors}.
- **Sold-out answers of lua against the ceiling**: {shown(found["lua_sold_out_to_ceiling"])}\
 (its client also writes and reads JSON, the ceiling's does not).
- Committed orders: one item with {setup["stock"]:,} units, never sold out, {setup["seconds"]} s a run. The runs are
  bounded by time, not by buyers: in the same seconds the slower strategies serve fewer of them.
- Sold-out answers: one item with one unit, {setup["sold_out_seconds"]} s a run, measured from when it was gone.
- Each run is audited in MySQL and Redis afterwards: orders lost, doubled or oversold make a run WRONG.
{chart}"""


def shown(number):
    return "-" if number is None else f"{number:.3g}"


GNUPLOT = """
set terminal svg size 900,420 font "sans-serif,13" background rgb "white"
set output "{path}"
set title "Holdfast: {connections} connections, {cores} cores"
set style data histograms
set style histogram errorbars gap 1 lw 1.2
set style fill solid 0.8 border -1
set logscale y
set yrange [10:*]
set format y "%.0s%c"
set ylabel "per second (log)"
set key outside bottom center horizontal
set grid ytics
plot $runs using 2:3:4:xtic(1) title "committed orders" lc rgb "#1f77b4", \\
     $runs using 5:6:7 title "sold-out answers" lc rgb "#ff7f0e", \\
     {ceiling} title "bare HTTP ceiling" with lines dt 2 lc rgb "#444444"
"""


def draw(result, path):
    """The chart as SVG at path; False when gnuplot is not installed or fails."""
    if not shutil.which("gnuplot"):
        return False
    lines = []
    for strategy, columns in result["summary"].items():
        numbers = [max(1, columns[column][name]) for column in ("committed orders/s", "sold-out answers/s")
                   for name in ("median", "min", "max")]
        lines.append(" ".join([strategy, *map(str, numbers)]))
    script = "$runs << END\n" + "\n".join(lines) + "\nEND\n" + GNUPLOT.format(
        path=path, connections=result["setup"]["connections"], cores=result["machine"]["cores"],
        ceiling=result["ceiling_requests_per_s"])
    return subprocess.run(["gnuplot"], input=script, text=True, capture_output=True).returncode == 0
