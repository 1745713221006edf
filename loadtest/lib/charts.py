"""Charts as SVG, by gnuplot."""

import shutil
import subprocess

from comparison import MEASURES

HEAD = """set terminal svg size {width},{height} font "sans-serif,12" background rgb "white"
set output "{path}"
set grid
"""

# Boxes from `base`, the left end of the logarithmic axis, to the median; whiskers from the least to the most.
BARS = """set multiplot
set style fill solid 0.75 border -1
set tmargin at screen {top}
set bmargin at screen {bottom}
set yrange [{last}:0.3]
set ytics scale 0
set logscale x
unset key
set xrange [{rates_base}:*]
set format x "%.0s%c"
set lmargin at screen 0.31
set rmargin at screen 0.63
set title "{left}"
plot $rates using ({rates_base}):($0+1):({rates_base}):2:($0+0.7):($0+1.3):ytic(1) with boxxyerror lc rgb "#1f77b4", \\
     $rates using 2:($0+1):3:4 with xerrorbars pt 0 lw 1.5 lc rgb "#222222"
set xrange [{costs_base}:*]
set format y ""
set format x "%g"
set lmargin at screen 0.66
set rmargin at screen 0.98
set title "{right}"
plot $costs using ({costs_base}):($0+1):({costs_base}):2:($0+0.7):($0+1.3) with boxxyerror lc rgb "#ff7f0e", \\
     $costs using 2:($0+1):3:4 with xerrorbars pt 0 lw 1.5 lc rgb "#222222"
unset multiplot
"""

LINES = """set title "{title}"
set xlabel "seconds since the start"
set ylabel "per second"
set yrange [0:*]
set key outside bottom center horizontal
set style data steps
plot {plots}
"""


def draw(script, path, width, height):
    """False when gnuplot is not installed or fails."""
    if not shutil.which("gnuplot"):
        return False
    text = HEAD.format(path=str(path).replace('"', ""), width=width, height=height) + script
    done = subprocess.run(["gnuplot"], input=text, text=True, capture_output=True)
    return done.returncode == 0 and path.exists()


def block(name, rows):
    return f"${name} << END\n" + "\n".join(rows) + "\nEND\n"


def plain(words):
    return words.replace("`", "")


def bars(result, path):
    """The rates and the processor times of a comparison, side by side."""
    summary = result["summary"]
    rates, costs = [], []
    for measure, members in summary.items():
        rate, cost = members["orders_per_s"], members["cpu_us_per_answer"]
        if rate is None or measure.startswith("sold_out"):
            rate = members["answers_per_s"]
        for rows, value in ((rates, rate), (costs, cost)):
            low, high = max(1, value["min"]), max(1, value["max"])
            rows.append(f'"{plain(MEASURES[measure])}" {max(1, value["median"])} {low} {high}')
    height = 90 + 30 * len(summary)
    script = block("rates", rates) + block("costs", costs) + BARS.format(
        last=len(summary) + 0.7, rates_base=10, costs_base=1, top=1 - 45 / height, bottom=35 / height,
        left="orders (sold out, bare: answers) a second", right="processor time an answer, us")
    return draw(script, path, 1100, height)


def over_time(title, series, path):
    """{name: [a number for each second]} as steps."""
    script = "".join(block(f"s{number}", [f"{second} {value}" for second, value in enumerate(values)])
                     for number, values in enumerate(series.values()))
    plots = ", ".join(f'$s{number} using 1:2 title "{name}" lw 2' for number, name in enumerate(series))
    return draw(script + LINES.format(title=title, plots=plots), path, 900, 420)
