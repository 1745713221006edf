"""Charts as SVG, by gnuplot."""

import shutil
import subprocess
from dataclasses import dataclass

from .bounds import (
    ACCEPTED, ACCEPTED_1000, BARE, BARE_1000, BARES, COMMITTED, COMMITTED_1000, CPU, PEER, PEER_1000, PEERS)
from .comparison import MEASURES
from .stack import STRATEGIES

# `noenhanced`: names are drawn as they are; an underscore makes no subscript.
HEAD = """set terminal svg size {width},{height} noenhanced font "sans-serif,12" background rgb "white"
set output "{path}"
"""

COLOUR, BARE_COLOUR, PEER_COLOUR = "#1f77b4", "#8c8c8c", "#e07b00"
WHISKERS = "#222222"

# One question a group: only what belongs beside each other is drawn on one scale.
QUESTIONS = (
    ("What costs little: answers a second", (BARE, "readyz", "item", "items_zipf", "order_in_hand",
                                             *(f"sold_out_{name}" for name in STRATEGIES))),
    ("The same over 1,000 connections", (BARE_1000, "item_1000", "items_zipf_1000", "order_wait_1000", "mixed_1000")),
    ("An order: orders a second (bare: answers)", (BARE, ACCEPTED, COMMITTED, PEER)),
    ("The same over 1,000 connections", (BARE_1000, ACCEPTED_1000, COMMITTED_1000, PEER_1000)),
    ("The strategies: orders a second", (COMMITTED, "committed_watch", "committed_optimistic",
                                         "committed_serializable")),
    ("The strategies over 1,000 connections", (COMMITTED_1000, "committed_optimistic_1000")),
    ("More nodes for one item: orders a second", ("nodes_1", "nodes_2", "nodes_3")),
    ("How buyers come: orders a second", ("h1_20", COMMITTED, COMMITTED_1000, "h2_20x50", "zipf", "zipf_1000", "half_load",
                                          "at_capacity", "overload")),
)
COSTS = "processor time an answer, us"

# Lengths in pixels.
WIDTH, ROW, GROUP_TITLE, LEGEND, BOTTOM = 1100, 24, 46, 30, 14
# Of a panel, as shares of the width; of its scale, the part that the longest bar takes: its value stands after it.
PANELS = {"rates": (0.27, 0.61), "costs": (0.65, 0.99)}
LONGEST = 0.8

PANEL = """set lmargin at screen {left}
set rmargin at screen {right}
set tmargin at screen {top:.5f}
set bmargin at screen {bottom:.5f}
set xrange [0:{most}]
set yrange [{rows}-0.4:-0.6]
set title "{title}" offset 0,-0.6
{names}
plot {data} using (0):0:(0):3:($0-0.33):($0+0.33):6{ticks} with boxxyerror fill solid 1.0 noborder lc rgb variable, \\
     {data} using 3:0:4:5 with xerrorbars pt 0 lw 1.2 lc rgb "{whiskers}", \\
     {data} using 5:0:2 with labels left offset 0.6,0
"""

LINES = """set grid
set title "{title}"
set xlabel "seconds since the start"
set ylabel "per second"
{scale}
set key outside bottom center horizontal
set style data steps
plot {plots}
"""


CURVES = """set grid
set title "{title}"
set xlabel "{x}"
set logscale xy
set format y "%.0f"
set key outside bottom center horizontal
plot {plots}
"""


@dataclass(frozen=True)
class Bar:
    name: str
    colour: str
    rate: dict  # median, min, max
    cost: dict


@dataclass(frozen=True)
class Question:
    words: str
    bars: tuple


def draw(script, path, width, height):
    """False when gnuplot is not installed or fails."""
    if not shutil.which("gnuplot"):
        return False
    text = HEAD.format(path=quoted(path), width=width, height=height) + script
    done = subprocess.run(["gnuplot"], input=text, text=True, capture_output=True)
    return done.returncode == 0 and path.exists()


def block(name, rows):
    return f"${name} << END\n" + "\n".join(rows) + "\nEND\n"


def quoted(words):
    """What can stand between double quotes in gnuplot."""
    return str(words).replace("`", "").replace('"', "'").replace("\\", "/")


def shown(number):
    return f"{number:,.0f}" if number >= 100 else f"{number:,.1f}"


def rate_of(summary, measure):
    """Orders a second; answers where nothing is sold."""
    members = summary[measure]
    orders = members["orders_per_s"]
    sells = orders is not None and orders["median"] > 0 and not measure.startswith(("sold_out", "mixed"))
    return members["orders_per_s" if sells else "answers_per_s"]


def bar_of(summary, measure):
    colour = BARE_COLOUR if measure in BARES else PEER_COLOUR if measure in PEERS else COLOUR
    return Bar(MEASURES[measure], colour, rate_of(summary, measure), summary[measure][CPU])


def questions(summary):
    """Those that have an answer. A group of one bar compares nothing: it is drawn if that bar is in no other."""
    measured = [(words, [name for name in measures if name in summary]) for words, measures in QUESTIONS]
    shown = {name for _, names in measured if len(names) > 1 for name in names}
    found = []
    for words, names in measured:
        if len(names) > 1 or set(names) - shown:
            found.append(Question(words, tuple(bar_of(summary, name) for name in names)))
            shown |= set(names)
    return found


def panel(number, kind, title, bars, values, top, bottom):
    """The script of one panel: its data and its plot."""
    rows = [f'"{quoted(bar.name)}" "{shown(value["median"])}" {value["median"]} {value["min"]} {value["max"]}'
            f' {int(bar.colour[1:], 16)}' for bar, value in zip(bars, values)]
    left, right = PANELS[kind]
    names, ticks = ("set format y '%s'", ":ytic(1)") if kind == "rates" else ("set format y ''", "")
    most = max(value["max"] for value in values) / LONGEST or 1
    return block(f"{kind}{number}", rows) + PANEL.format(
        left=left, right=right, top=top, bottom=bottom, most=most, rows=len(bars), title=quoted(title), names=names,
        ticks=ticks, data=f"${kind}{number}", whiskers=WHISKERS)


def legend(height):
    y = 1 - LEGEND / 2 / height
    parts = ((0.27, "Holdfast", COLOUR), (0.35, "its bare HTTP server", BARE_COLOUR), (0.50, "the peer", PEER_COLOUR),
             (0.58, "thin lines: least and most of the rounds; every scale starts at 0", WHISKERS))
    return "".join(f'set label {number} "{words}" at screen {x},{y:.5f} left textcolor rgb "{colour}"\n'
                   for number, (x, words, colour) in enumerate(parts, 1))


def bars(result, path):
    """The rates and the processor times of a comparison, side by side, a group for each question."""
    found = questions(result["summary"])
    if not found:
        return False
    height = LEGEND + BOTTOM + sum(GROUP_TITLE + ROW * len(question.bars) for question in found)
    script = "unset key\nset border 2\nunset xtics\nset ytics scale 0\nset multiplot\n" + legend(height)
    y = LEGEND
    for number, question in enumerate(found):
        top, bottom = y + GROUP_TITLE, y + GROUP_TITLE + ROW * len(question.bars)
        for kind, title, values in (("rates", question.words, [bar.rate for bar in question.bars]),
                                    ("costs", COSTS, [bar.cost for bar in question.bars])):
            script += panel(number, kind, title, question.bars, values, 1 - top / height, 1 - bottom / height)
            script += "unset label\n"
        y = bottom
    return draw(script + "unset multiplot\n", path, WIDTH, height)


def over_time(title, series, path, log=False):
    """{name: [a number for each second]} as steps; with `log` none stands for a tenth."""
    script = "".join(block(f"s{number}", [f"{second} {max(value, 0.1) if log else value}" for second, value in enumerate(values)])
                     for number, values in enumerate(series.values()))
    scale = "set logscale y\nset yrange [0.8:*]" if log else "set yrange [0:*]"
    plots = ", ".join(f'$s{number} using 1:2 title "{quoted(name)}" lw 2' for number, name in enumerate(series))
    return draw(script + LINES.format(title=quoted(title), plots=plots, scale=scale), path, 900, 420)


def curves(title, x, series, path):
    """{name: [(x, y)]} as lines on two logarithmic scales."""
    script = "".join(block(f"s{number}", [f"{at} {value}" for at, value in points])
                     for number, points in enumerate(series.values()))
    plots = ", ".join(f'$s{number} using 1:2 with lines lw 2 title "{quoted(name)}"' for number, name in enumerate(series))
    return draw(script + CURVES.format(title=quoted(title), x=quoted(x), plots=plots), path, 900, 420)
