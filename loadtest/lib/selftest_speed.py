"""Tests of the speed measurements' own reckoning: python3 -m lib.selftest_speed, in loadtest

The load generators run against a server of a few lines (shop.py); no stack is needed. The open loop is tested with the
volley of HOLDFAST_TEST_BUILD, or of build.
"""

import importlib.machinery
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from collections import Counter
from dataclasses import replace
from pathlib import Path

from . import (
    bounds, charts, comparison, h2, idle, machine, measures, needs, nodes, openreport, peers, rush, schedule, stack, tally,
    volley)
from .audit import Findings, Gate, Row
from .bounds import AT_LEAST, AT_MOST, Bound
from .schedule import Segment
from .shop import Shop
from .tally import Books, Target

ROW = Row(slot=1, bucket=0, total=9, allocated=2, per_buyer_limit=1, epoch=7, strategy="lua")
GATE = {"epoch": "7", "capacity": "9", "reserved": "3", "unreserved": "0", "settled": "2", "released": "0"}


class ScheduleTest(unittest.TestCase):
    def test_words(self):
        self.assertEqual(schedule.parse("quiet 3@200, 1.5@200..9000"),
                         [Segment("quiet", 3, 200, 200), Segment("", 1.5, 200, 9000)])
        for text in ("", "3", "3@", "0@5", "3@-1", "3@1..", "3@1;4@2", "9999@1", ",".join(["1@1"] * 65)):
            with self.subTest(text), self.assertRaises(schedule.ScheduleError):
                schedule.parse(text)

    def test_arrivals_of_each_second_add_up(self):
        segments = [Segment("", 1.5, 100, 100), Segment("", 2, 100, 300)]
        self.assertEqual(schedule.expected_per_second(segments), [100, 112.5, 200, 137.5])
        self.assertAlmostEqual(sum(schedule.expected_per_second(segments)), schedule.expected(segments))

    def test_lines_for_volley(self):
        self.assertEqual(schedule.lines([Segment("x", 2, 1, 3)]), "2.000000 1.000 3.000\n")


class PercentileTest(unittest.TestCase):
    def test_of_a_histogram(self):
        histogram = [[1000, 50], [2000, 49], [9000, 1]]
        self.assertEqual([volley.percentile(histogram, share) for share in (50, 50.1, 99, 99.5, 100)], [1, 2, 2, 9, 9])
        self.assertIsNone(volley.percentile([], 50))

    def test_merged(self):
        self.assertEqual(volley.merged([[[1, 2], [5, 1]], [[5, 3]]]), [(1, 2), (5, 4)])


def a_run(measure, turn, **members):
    return {"measure": measure, "round": turn, "audit": {"lost": 0}, "errors": 0} | members


class BoundsTest(unittest.TestCase):
    def test_a_ratio_is_taken_within_its_round(self):
        runs = [a_run("a", 1, x=10), a_run("b", 1, x=2), a_run("a", 2, x=99), a_run("a", 3, x=9), a_run("b", 3, x=3)]
        self.assertEqual(bounds.ratio(runs, "a", "b", "x"), [5, 3])
        self.assertEqual(bounds.ratio(runs, "a", None, "x"), [10, 99, 9])
        self.assertEqual(bounds.ratio(runs, "a", "c", "x"), [])

    def test_orders_are_compared_with_the_answers_of_what_sells_nothing(self):
        runs = [a_run("a", 1, orders_per_s=5, answers_per_s=7), a_run("bare", 1, answers_per_s=10)]
        self.assertEqual(bounds.ratio(runs, "a", "bare", bounds.ORDERS), [0.5])

    def test_verdicts(self):
        most, least = Bound("", "", "a", "b", "x", AT_MOST, 3, 2), Bound("", "", "a", "b", "x", AT_LEAST, 3, 5)
        self.assertEqual([bounds.judge(most, value) for value in (2, 2.1, 3.1, None)],
                         ["aim", "ok", "MISSED", "not measured"])
        self.assertEqual([bounds.judge(least, value) for value in (5, 3, 2.9)], ["aim", "ok", "MISSED"])

    def test_every_bound_is_of_measures_that_are_made(self):
        bench = measures.Bench(None, measures.Client(128, 1, 1, 1), None)
        made = set(measures.plan_of(bench, peer=True, with_http2=True))
        self.assertEqual(made, set(comparison.MEASURES))
        for bound in bounds.BOUNDS:
            self.assertLessEqual({bound.of, bound.to} - {None}, made)
            self.assertEqual(bounds.judge(bound, bound.aim), bounds.MEETS_AIM)
            self.assertIn(bounds.judge(bound, bound.bound), (bounds.WITHIN, bounds.MEETS_AIM))

    def test_tables(self):
        run = dict(answers_per_s=1234.5, orders_per_s=0, p50_ms=1, p99_ms=2.5, cpu_us_per_answer=8.2,
                   cpu_us={"service": 8.0, "redis": 0.2})
        runs = [a_run("bare", 1, **run), a_run("sold_out_lua", 1, **run | {"audit": {"lost": 3}, "cpu_us_per_answer": 41})]
        table = comparison.measures_table(runs, comparison.summarize(runs))
        self.assertIn("WRONG: lost", table)
        self.assertIn("| 8.0 + 0.2 ", table)
        self.assertIn("| 5.00 ", table)
        judged = comparison.bounds_table(comparison.judged(runs))
        self.assertRegex(judged, r"sold out / bare +\| 5 \(5..5\) +\| at most 1.2 +\| 1.1 +\| MISSED")
        self.assertRegex(judged, r"10,000 items by Zipf / one hot item +\| +\| at least 0.6 +\| 0.9 +\| not measured")


class ChartTest(unittest.TestCase):
    """The charts as they are drawn: what a reader of the SVG sees."""

    def draw(self, act, *arguments):
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "chart.svg"
            self.assertTrue(act(*arguments, path), "is gnuplot installed?")
            return path.read_text()

    def bars_of(self, svg, colour):
        """The lengths of the bars of that colour, from the top."""
        red, green, blue = (int(colour[at:at + 2], 16) for at in (1, 3, 5))
        found = re.findall(rf"<polygon fill = 'rgb\( *{red}, *{green}, *{blue}\)' points = '([^']*)'", svg)
        corners = [[tuple(map(float, point.split(","))) for point in points.split()] for points in found]
        return [max(x for x, _ in one) - min(x for x, _ in one) for one in corners]

    def summary(self):
        runs = json.loads((stack.ROOT / "loadtest" / "results" / "compare.json").read_text())["runs"]
        return comparison.summarize(runs)

    def test_every_measure_answers_one_question(self):
        shown = [measure for _, measures in charts.QUESTIONS for measure in measures]
        self.assertEqual(sorted(set(shown)), sorted(comparison.MEASURES))
        summary = self.summary()
        for question in charts.questions(summary):
            self.assertGreater(len(question.bars), 1, question.words)

    def test_each_bar_is_there_and_as_long_as_its_value(self):
        summary = self.summary()
        svg = self.draw(charts.bars, {"summary": summary})
        for measure in summary:
            self.assertIn(comparison.MEASURES[measure].replace("`", ""), svg)
        self.assertIn(f"{charts.rate_of(summary, bounds.BARE)['median']:,.0f}", svg)
        bars = [bar for question in charts.questions(summary) for bar in question.bars]
        for colour in (charts.BARE_COLOUR, charts.PEER_COLOUR):  # the bare server beside what costs little, and beside orders
            self.assertEqual(len(self.bars_of(svg, colour)), 2 * sum(bar.colour == colour for bar in bars))
        rates = [charts.rate_of(summary, f"committed_{name}")["median"] for name in stack.STRATEGIES]
        drawn = self.bars_of(self.draw(charts.bars, {"summary": {name: summary[name] for name in summary
                                                                 if name.startswith("committed_")}}), charts.COLOUR)[:4]
        for rate, length in zip(rates, drawn, strict=True):
            self.assertAlmostEqual(length / max(drawn), rate / max(rates), delta=0.01)

    def test_a_group_without_one_of_its_measures_is_drawn_without_it(self):
        runs = [a_run("bare", 1, answers_per_s=10.0, cpu_us_per_answer=8.2)]
        svg = self.draw(charts.bars, {"summary": comparison.summarize(runs)})
        self.assertIn("bare GET /healthz", svg)
        self.assertEqual(len(self.bars_of(svg, charts.BARE_COLOUR)), 2)

    def test_names_are_drawn_as_they_are(self):
        svg = self.draw(charts.over_time, 'a_b^c {x} "y"', {"409 sold_out": [1, 2], "201": [3, 4]})
        self.assertIn(">409 sold_out<", svg)
        self.assertIn("a_b^c {x}", svg)


class NeedsTest(unittest.TestCase):
    """Programs that are not there."""

    def test_compare_names_the_package_of_a_program_that_is_missing(self):
        with tempfile.TemporaryDirectory() as directory:
            for program in ("wrk", "mariadb", "redis-cli", "redis-server", "gnuplot", "bash"):
                (Path(directory) / program).symlink_to(shutil.which(program))
            done = subprocess.run([sys.executable, stack.ROOT / "loadtest" / "compare", "--quick", "--dir", directory],
                                  env={"PATH": directory}, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout), (2, ""), done.stderr)
        self.assertIn("h2load", done.stderr)
        self.assertIn("apt-get install nghttp2-client", done.stderr)
        self.assertNotIn("Traceback", done.stderr)

    def test_what_is_missing_is_installed_or_named(self):
        there, asked = {"wrk"}, []

        def install(packages):
            asked.append(packages)
            there.add("gnuplot")
        find = lambda program: program if program in there else None
        needs.require(["wrk", "gnuplot"], find, install)
        self.assertEqual(asked, [["gnuplot-nox"]])
        needs.require(["wrk"], find, install)
        self.assertEqual(len(asked), 1)
        with self.assertRaisesRegex(needs.NeedError, "h2load .*apt-get install nghttp2-client$"):
            needs.require(["wrk", "h2load"], find, install)

    def test_only_what_is_measured_is_needed(self):
        self.assertNotIn("h2load", needs.of_measures(["bare", "committed_lua"]))
        for measure in ("h1_20", "h2_20x50"):
            self.assertIn("h2load", needs.of_measures(["bare", measure]))


class OverloadTest(unittest.TestCase):
    def found(self, per_second):
        return {"kinds": {"201": {"count": sum(per_second), "per_second": per_second, "latency_ms": {}, "service_ms": {}}},
                "queues_highest": {}, "client": {}, "audit": {}, "steal_percent": 0, "cpu_s": {}, "seconds": 4,
                "passed": True}

    def test_neither_the_first_second_nor_the_rest_after_the_last_arrival_counts(self):
        self.assertEqual(openreport.step(1, 100, 4, self.found([5, 90, 110, 100, 999]))["orders_per_s"], 100)

    def test_the_last_step_is_held_against_the_best(self):
        steps = [openreport.step(times, 100, 4, self.found([0, rate, rate, rate])) for times, rate in ((1, 120), (3, 90))]
        summary = openreport.overload(steps, 100)
        self.assertEqual((summary["peak_orders_per_s"], summary["share_of_peak"], summary["verdict"]),
                         (120, 0.75, bounds.MISSED))


class ParsingTest(unittest.TestCase):
    def test_processor_time_of_a_process_with_a_strange_name(self):
        stat = "12 (a) b) S 1 2 3 4 5 6 7 8 9 10 700 55 1 2 20 0 3 0 99"
        self.assertEqual(machine.parse_process_ticks(stat), 755)

    def test_the_meter_sees_time_that_is_used(self):
        meter = machine.ProcessMeter({"us": [os.getpid()], "init": []})
        began = os.times()
        while sum(os.times()[:2]) - sum(began[:2]) < 0.2:
            pass
        used = meter.read()
        self.assertGreaterEqual(used["us"], 0.15)
        self.assertEqual(used["init"], 0)

    def test_what_others_used(self):
        cores = os.cpu_count()
        self.assertEqual(measures.others_cores(75, 0.5), round(0.75 * cores - 0.5, 2))
        self.assertEqual(measures.others_cores(10, cores), 0)

    def test_a_process_that_ended_is_said(self):
        meter = machine.ProcessMeter({"gone": [os.getpid()]})
        meter.groups["gone"], meter.start = [2**22 + 1], {2**22 + 1: 0}
        with self.assertRaisesRegex(machine.ProcessGone, r"process 4194305 \(gone\) has ended"):
            meter.read()

    def test_versions(self):
        for text, version in (("Redis server v=7.0.15 sha=0", "7.0.15"), ("nginx version: nginx/1.22.1", "1.22.1"),
                              ("wrk debian/4.1.0-3", "4.1.0"), ("nothing", "unknown")):
            self.assertEqual(machine.parse_version(text), version)

    def test_h2load(self):
        said = ("finished in 2.50s, 5015.00 req/s, 1.43MB/s\nrequests: 10030 total, 11030 started, 10030 done, "
                "10020 succeeded, 10 failed, 0 errored, 0 timeout\nstatus codes: 10020 2xx, 0 3xx, 4 4xx, 6 5xx\n")
        answers = h2.parse_output(said)
        self.assertEqual((answers.issued, answers.answered, answers.good, answers.unheard, answers.per_s),
                         (11030, 10030, 10020, 1000, 4012))
        with self.assertRaises(rush.CrowdError):
            h2.parse_output("finished in 2.50s")
        self.assertEqual(h2.parse_log("1\t201\t1000\n1\t-1\t9\n2\t201\t3000\n")["p99"], 3)

    def test_metrics(self):
        text = ('# TYPE holdfast_x gauge\nholdfast_x{shard="0"} 3\nholdfast_x{shard="1"} 4\nholdfast_xy 9\n'
                'holdfast_http_requests_total{route="order_create",status="201"} 7\n'
                'holdfast_http_requests_total{route="healthz",status="200"} 8\n')
        self.assertEqual((stack.parse_metric(text, "holdfast_x"), stack.parse_metric(text, "holdfast_z")), (7, None))
        self.assertEqual(stack.parse_answers(text), {201: 7})
        self.assertEqual(measures.statuses_between(text, text.replace("} 7", "} 9")), {201: 2})
        self.assertEqual(stack.parse_answers(text + text.replace("} 7", "} 5")), {201: 12})  # of two nodes

    def test_the_configuration_of_a_further_node(self):
        text = "admin:\n  listen: 127.0.0.1:2\n  token_file: /t\nhttp:\n  threads: 1\n  listen: 127.0.0.1:1\nnode:\n  name: n1\n"
        self.assertEqual(nodes.configuration(text, 2, 8, 9),
                         text.replace(":1\n", ":8\n").replace(":2\n", ":9\n").replace("n1", "node-2"))
        with self.assertRaises(stack.StackError):
            nodes.configuration("node:\n  name: n1\n", 2, 8, 9)

    def test_strace(self):
        loader = importlib.machinery.SourceFileLoader("syscalls", str(stack.ROOT / "loadtest" / "syscalls"))
        module = importlib.util.module_from_spec(importlib.util.spec_from_loader("syscalls", loader))
        loader.exec_module(module)
        text = "    calls syscall\n--------- ----------------\n     2054 read\n       12 epoll_wait\n     2066 total\n"
        self.assertEqual(module.parse_summary(text), {"read": 2054, "epoll_wait": 12})
        with self.assertRaises(module.CannotMeasure):
            module.parse_summary("")


class IdleTest(unittest.TestCase):
    METRICS = ('holdfast_purchases_in_flight 0\nholdfast_writer_queue_orders{shard="0"} 1\n'
               'holdfast_writer_queue_orders{shard="1"} 2\nholdfast_pool_queue_jobs{shard="0"} 0\n')

    def test_what_is_at_work_is_named(self):
        self.assertEqual(idle.at_work(self.METRICS, 0.01), "writer_queue_orders 3")
        self.assertEqual(idle.at_work(self.METRICS, 0.5, kept=3), "0.50 cores")
        self.assertEqual(idle.at_work(self.METRICS, 0.01, kept=3), "")
        self.assertEqual(idle.at_work("", 0), "")

    def test_a_measure_that_began_too_early_is_said(self):
        result = {"runs": [a_run("bare", 2, not_idle="0.50 cores", steal_percent=0, others_cores=0, cpu_us={"service": 1})],
                  "machine": {"versions": {}, "model": "", "cores": 2, "kernel": ""}, "not_measured": [], "bounds": [],
                  "summary": {}, "taken_at": "", "commit": "",
                  "setup": dict.fromkeys(("rounds", "seconds", "warm_up_seconds", "connections", "threads", "http_loops"), 1)}
        self.assertIn("Round 2, bare: began while the stack was still at work: 0.50 cores.", comparison.render(result))


class TallyTest(unittest.TestCase):
    TARGET = Target("s", {}, told_201=3, sold_out=1)
    BOOKS = Books(total=3, live_orders=3, live_units=3)

    def wrong(self, books, target=TARGET, gate=Gate(0)):
        return tally.examine(books, gate, target).wrong()

    def test_a_right_rush(self):
        self.assertEqual(self.wrong(self.BOOKS), {})

    def test_each_wrong(self):
        for name, books, target in (
                ("lost", replace(self.BOOKS, live_orders=2), self.TARGET),
                ("oversold", replace(self.BOOKS, oversold=1), self.TARGET),
                ("unbalanced", replace(self.BOOKS, unbalanced=1), self.TARGET),
                ("duplicated", replace(self.BOOKS, greedy=1), self.TARGET),
                ("refused_live", replace(self.BOOKS, live_orders=4), self.TARGET),
                ("undecided", self.BOOKS, replace(self.TARGET, told_202=1)),
                ("unsold", replace(self.BOOKS, total=4), self.TARGET)):
            with self.subTest(name):
                self.assertEqual(self.wrong(books, target), {name: 1})

    def test_what_is_forgiven(self):
        self.assertEqual(self.wrong(replace(self.BOOKS, live_orders=4), replace(self.TARGET, unheard=1)), {})
        self.assertEqual(self.wrong(replace(self.BOOKS, rejected=1), replace(self.TARGET, told_202=1)), {})
        self.assertEqual(self.wrong(replace(self.BOOKS, greedy=1), replace(self.TARGET, one_buyer=True)), {})

    def test_what_buyers_were_told(self):
        target = Target("s", {})
        target.told({201: 6, 202: 2, 409: 3, 503: 4}, good=8, unheard=1)
        self.assertEqual((target.told_201, target.told_202, target.sold_out, target.unheard), (6, 2, 3, 5))

    def test_gates(self):
        rows = [("a", ROW), ("b", ROW), ("c", replace(ROW, strategy="optimistic"))]
        whole = tally.compare_gates(rows, [GATE, GATE | {"reserved": "4"}, {}])
        self.assertEqual((whole.drift, whole.unsettled), (0, 3))
        self.assertEqual(tally.compare_gates(rows[:1], [GATE | {"capacity": "8"}]).drift, 1)
        self.assertIsNone(tally.compare_gates(rows[:2], [GATE, {}]).drift)
        never_bought = [("d", replace(ROW, allocated=0))]
        self.assertEqual(tally.compare_gates(never_bought, [{}]), Gate(0))

    def test_a_peer(self):
        self.assertEqual(set(peers.examine(10, 7, 3, 3, 0).values()), {0})
        self.assertEqual(peers.examine(2, 0, 3, 4, 0), {"oversold": 1, "lost": 1, "duplicated": 0, "drift": 1})
        self.assertEqual(peers.examine(9, 5, 4, 2, 1)["duplicated"], 1)


class RushTest(unittest.TestCase):
    def drive(self, shop, kind="buy", **members):
        return rush.drive(rush.Rush(shop.url, 0.3, 8, 2, kind, "s", **members))

    def test_every_attempt_is_of_a_new_buyer_and_is_answered(self):
        with Shop(stock=20) as shop:
            heard = self.drive(shop)
        self.assertEqual((heard.good, heard.unheard, heard.broken), (20, 0, 0))
        self.assertEqual((heard.answered, max(shop.came.values())), (shop.came.total(), 1))

    def test_crowds_of_two_services_are_added_and_told_apart(self):
        with Shop(stock=30) as one, Shop(stock=10) as other:
            answers = rush.drive_all([rush.Rush(shop.url, 0.3, 8, 2, "buy", "s", buyers=name)
                                      for shop, name in ((one, "a"), (other, "b"), (one, "c"))])
        self.assertEqual((answers.good, len(answers.parts)), (40, 3))
        self.assertEqual(answers.answered, one.came.total() + other.came.total())
        self.assertEqual(max(one.came.values()), 1)
        orders = [part.good for part in answers.parts]
        self.assertEqual(orders[0] + orders[2], 30)
        self.assertEqual(measures.fairness(answers.parts, 2), 0.5)

    def test_items_are_drawn_by_zipfs_law(self):
        with Shop(stock=10**9) as shop:
            self.drive(shop, items=100)
            self.drive(shop, items=100)
        drawn = Counter(order.split(b'"')[3] for order in shop.came.elements())
        self.assertGreater(drawn[b"s00000"], drawn[b"s00009"])
        self.assertGreater(drawn[b"s00000"] * 3, drawn.total() / 5.19 * 2)  # its share is 1 / 5.19 of 100 items
        self.assertLessEqual(set(drawn), {b"s%05d" % number for number in range(100)})

    def test_crowds_of_other_names_draw_other_items(self):
        with Shop(stock=10**9) as shop:
            rush.drive_all([rush.Rush(shop.url, 0.3, 1, 1, "buy", "s", items=100, buyers=name) for name in ("a", "c")])
        words = [order.split(b'"') for order in shop.came.elements()]
        drawn = {name: [sku for buyer, sku in sorted((word[7], word[3]) for word in words) if buyer[:1] == name][:20]
                 for name in (b"a", b"c")}
        self.assertEqual([len(skus) for skus in drawn.values()], [20, 20])
        self.assertNotEqual(drawn[b"a"], drawn[b"c"])

    def test_a_warm_up_buys_each_item_however_long_that_takes(self):
        with Shop(stock=10**9) as shop:
            self.drive(shop, kind="warm", items=1500)
        drawn = Counter(order.split(b'"')[3] for order in shop.came.elements())
        self.assertEqual((len(drawn), min(drawn.values())), (1500, 2))  # each of the two threads buys all


    def test_items_are_read_by_zipfs_law_after_each_was_read(self):
        with Shop(stock=0) as shop:
            self.drive(shop, kind="warm_look", items=500)
        paths = shop.paths
        self.assertEqual(set(paths), {f"GET /v1/items/s{number:05d}" for number in range(500)})
        self.assertGreaterEqual(min(paths.values()), 2)
        self.assertGreater(paths["GET /v1/items/s00000"], paths["GET /v1/items/s00499"])

    def test_a_mixed_crowd_reads_buys_and_reads_orders(self):
        with Shop(stock=10**9) as shop:
            heard = self.drive(shop, kind="mixed", orders=("x", "y"))
        looks, buys = shop.paths["GET /v1/items/s"], shop.paths["POST /v1/orders"]
        orders = [shop.paths[f"GET /v1/orders/{name}"] for name in "xy"]
        for found, share in ((looks, 16), (buys, 3), (sum(orders), 1)):
            self.assertAlmostEqual(found / heard.answered, share / 20, delta=0.03)
        self.assertLess(max(orders), 2 * min(orders) + 4)
        self.assertEqual(heard.orders, buys)
        self.assertEqual(max(count for order, count in shop.came.items() if order), 1)


class VolleyTest(unittest.TestCase):
    PROGRAM = volley.binary(os.environ.get("HOLDFAST_TEST_BUILD"))

    def drive(self, shop, segments, on_progress=None, **members):
        plan = volley.Plan(shop.url, "s", tuple(segments), **{"connections": 4, "keyed": 0} | members)
        return volley.drive(plan, self.PROGRAM, on_progress)

    def test_a_stall_is_charged_to_all_who_come_meanwhile(self):
        rate, stall_s = 200, 1.0
        with Shop(stock=10, stall_at=100, stall_s=stall_s) as shop:
            heard = self.drive(shop, schedule.steady(rate, 2))
        waited = sum(count for kind in heard.record["kinds"].values() for top_us, count in kind["latency_us"]
                     if top_us >= 100_000)
        # A closed loop would have seen it four times: once for each connection.
        self.assertGreater(waited, rate * stall_s * 0.6)
        slowest = volley.percentile(volley.merged(map(heard.latency, heard.record["kinds"])), 100)
        self.assertGreaterEqual(slowest, 1000 * stall_s * 0.9)
        on_the_wire = sum(count for kind in heard.record["kinds"].values() for top_us, count in kind["service_us"]
                          if top_us >= 100_000)
        self.assertLess(on_the_wire, waited / 2)

    def test_buyers_come_by_the_schedule_and_a_seed_repeats_them(self):
        segments = [Segment("", 0.5, 100, 900), Segment("", 0.2, 0, 0), Segment("", 0.5, 900, 0)]
        with Shop(stock=0) as shop:
            first, again = self.drive(shop, segments, seed=5), self.drive(shop, segments, seed=5)
            other = self.drive(shop, segments, seed=6)
        expected = schedule.expected(segments)
        self.assertEqual(expected, 475)
        for heard in (first, other):
            self.assertLess(abs(heard.record["buyers"] - expected), 5 * expected**0.5)
        self.assertEqual(first.record["buyers"], again.record["buyers"])
        self.assertEqual(first.count("409 sold_out"), first.record["buyers"])
        self.assertEqual(sum(first.record["offered"]), first.record["attempts"])

    def test_those_who_hear_503_or_nothing_try_again(self):
        with Shop(stock=10**6, busy_at=(3, 5), break_at=(8,)) as shop:
            heard = self.drive(shop, schedule.steady(100, 0.3), retry_ms=1)
        self.assertEqual((heard.count("503 unavailable"), heard.count("no answer"), heard.record["retries"]), (2, 1, 3))
        self.assertEqual(heard.count("201"), heard.record["buyers"])
        self.assertEqual(heard.record["gave_up"], 0)
        crowd = volley.crowd_of(heard)
        self.assertEqual((crowd.unanswered, crowd.server_errors, len(set(crowd.answered_201))),
                         (1, 2, heard.record["buyers"]))

    def test_those_who_never_hear_give_up(self):
        with Shop(stock=1, busy_at=range(10**6)) as shop:
            heard = self.drive(shop, schedule.steady(100, 0.1), retries=2, retry_ms=1)
        self.assertEqual(heard.record["gave_up"], heard.record["buyers"])
        self.assertEqual(heard.count("503 unavailable"), 3 * heard.record["buyers"])

    def test_bots_repeat_the_same_request(self):
        with Shop(stock=10**6) as shop:
            heard = self.drive(shop, schedule.steady(100, 0.2), bots=1, repeats=4, gap_ms=1, keyed=1)
        self.assertEqual(set(shop.came.values()), {5})
        self.assertEqual(shop.keys, shop.came)
        self.assertEqual(heard.record["attempts"], 5 * heard.record["buyers"])

    def test_replays_are_told_from_orders(self):
        with Shop(stock=10**6) as shop:
            heard = self.drive(shop, schedule.steady(100, 0.2), bots=1, repeats=4, gap_ms=1, keyed=1)
        buyers = heard.record["buyers"]
        self.assertEqual((heard.count("201"), heard.count("201 replayed")), (buyers, 4 * buyers))
        self.assertEqual(len(volley.crowd_of(heard).answered_201), buyers)

    def test_the_header_of_a_replay_is_not_looked_for_in_the_body(self):
        class Odd(Shop):
            def sell(self):
                status, body = super().sell()
                return status, body[:-1] + b',"note":"\\r\\nIdempotency-Replayed: true"}'
        with Odd(stock=10**6) as shop:
            heard = self.drive(shop, schedule.steady(100, 0.1))
        self.assertEqual(heard.count("201"), heard.record["buyers"])

    def test_progress_is_told_while_it_runs_and_at_the_end(self):
        told = []
        with Shop(stock=30) as shop:
            heard = self.drive(shop, schedule.steady(50, 2.5), on_progress=lambda elapsed_s, seen: told.append(seen))
        self.assertGreaterEqual(len(told), 2)
        self.assertEqual(told[-1], volley.Progress(heard.record["attempts"], heard.record["attempts"], 30))
        self.assertEqual(told, sorted(told, key=lambda seen: seen.answered))

    def test_a_volley_that_fails_says_why(self):
        plan = volley.Plan("http://127.0.0.1:1", "s" * 65, tuple(schedule.steady(1, 1)))
        with self.assertRaisesRegex(volley.CrowdError, "bad --sku"):
            volley.drive(plan, self.PROGRAM)

    def test_the_report_holds_the_orders_against_the_stock(self):
        with Shop(stock=10**6) as shop:
            heard = self.drive(shop, schedule.steady(100, 0.2), bots=1, repeats=1, gap_ms=1, keyed=1)
        plan = volley.Plan(shop.url, "s", tuple(schedule.steady(100, 0.2)))
        terms = {"strategy": "lua", "acknowledge": "committed", "total": 10**6}
        found = openreport.result(plan, terms, heard, Findings(live_units=19), {}, {"steal_percent": 0})
        shown = openreport.render(found)
        self.assertIn("19 of 1,000,000 units are sold", shown)
        self.assertIn("| 201 replayed |", shown)

    def test_an_order_of_two_buyers_counts_twice(self):
        heard = volley.Heard({"kinds": {}}, [("201", "A", "x"), ("201", "a", "x"), ("202", "b", "y"), ("201", "b", "z")])
        crowd = volley.crowd_of(heard)
        self.assertEqual((crowd.answered_201, crowd.answered_202), (["a", "b"], ["b"]))


if __name__ == "__main__":
    unittest.main()
