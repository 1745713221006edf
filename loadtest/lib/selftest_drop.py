"""Tests of the drop's own reckoning: python3 -m lib.selftest_drop, in loadtest. Its crowd is tested by a small drop of tests/run."""

import socket
import tempfile
import threading
import unittest
from pathlib import Path

from . import charts, drop, h2
from .audit import Findings
from .crowd import CrowdError

PLAN = drop.Plan("http://127.0.0.1:1", "s", 0, buyers=4, stock=2, connections=1, seconds=2, wait_ms=100)
TERMS = {"total": 2, "per_buyer_limit": 1, "hold_seconds": 5, "strategy": "lua", "acknowledge": "committed"}
USED = {"busy_percent": 1, "steal_percent": 0, "cpu_s": {"service": 1.5, "redis": 0.5}}


def a_kind(count, us, per_second):
    return {"count": count, "latency_us": [[us, count]], "service_us": [[us // 2, count]], "per_second": per_second}


def a_run(orders=(), **kinds):
    """Of four buyers: two looks each, two orders, two who hear `sold_out`, one of the orders confirmed."""
    names = {"look: 200": a_kind(6, 1000, [4, 2]), "look: 304": a_kind(2, 500, [0, 2]), "look: no answer": a_kind(1, 9000, [0, 1]),
             "buy: 201": a_kind(1, 3000, [0, 1]), "buy: 202": a_kind(1, 4000, [0, 1]),
             "buy: 409 sold_out": a_kind(2, 2000, [0, 2]), "buy: 503 unavailable": a_kind(1, 2000, [0, 1]),
             "confirm: 200": a_kind(1, 2000, [0, 1]), "heard": a_kind(4, 8000, [0, 4])} | kinds
    record = {"kinds": names, "seconds": 2.0, "cpu_s": 0.5, "attempts": 15, "retries": 1, "repeats": 0, "gave_up": 0,
              "connections_lost": 0, "lateness_us": [[100, 15]]}
    return drop.Heard({"record": record, "opens_s": 1.0, "last_heard_s": 1.5, "ordered": 2, "confirmed": 1, "lapsed": 0,
                       "abandoned": 1, "looks_wrong": 0}, list(orders))


def found_of(heard=None, findings=None, wrong_moves=0):
    return drop.result(PLAN, TERMS, heard or a_run(), (findings or Findings(live_units=2), wrong_moves, {"confirmed": 2}),
                       {"holdfast_purchases_in_flight": 3}, USED)


class DropTest(unittest.TestCase):
    def test_answers_are_counted_by_kind_of_request(self):
        found = found_of()
        self.assertEqual((found["requests"], found["accepted"], found["sold_out"], found["errors"]), (14, 2, 2, 2))
        self.assertEqual((found["asks"]["look"]["count"], found["asks"]["look"]["per_second"]), (9, [4, 5]))
        self.assertEqual(found["asks"]["look"]["latency_ms"]["p50"], 1)
        self.assertNotIn("wait", found["asks"])
        self.assertEqual(found["heard"]["last_after_opening_ms"], 500)

    def test_the_headline(self):
        self.assertEqual(drop.headline(found_of()),
                         "All 4 buyers heard within 8.0 ms of buying (p50 8.0, p99 8.0), the last one 500.0 ms after the opening;"
                         " p99 of looking 9.0 ms; 2 of 2 sold, 0 oversold.")
        some = drop.headline(found_of(a_run(heard=a_kind(3, 8000, [0, 3]))))
        self.assertTrue(some.startswith("3 of 4 buyers heard"), some)

    def test_the_report_shows_each_answer_and_second(self):
        text = drop.render(found_of())
        for words in ("| look, all ", "| buy: 409 sold_out ", "| 1      | 5     | 2                 | 2        | 1         |",
                      "service 1.5 s", "PASS"):
            self.assertIn(words, text)

    def test_what_fails_a_drop(self):
        self.assertTrue(found_of()["passed"])
        for found in (found_of(findings=Findings(oversold=1)), found_of(wrong_moves=1)):
            self.assertFalse(found["passed"])
            self.assertIn("FAIL: ", drop.render(found))
        heard = a_run()
        heard.result["looks_wrong"] = 2
        self.assertFalse(found_of(heard)["passed"])
        self.assertIn("FAIL: looks_wrong 2", drop.render(found_of(heard)))

    def test_an_order_that_a_read_showed_as_held_is_as_good_as_a_201(self):
        heard = a_run([("202", "a", "x"), ("202", "b", "y"), ("held", "a", "x"), ("confirmed", "a", "x"), ("201", "c", "z")])
        crowd = drop.crowd_of(heard)
        self.assertEqual((sorted(crowd.answered_201), crowd.answered_202), (["a", "c"], ["b"]))
        self.assertEqual((crowd.sold_out, crowd.server_errors, crowd.unanswered), (2, 1, 0))
        self.assertEqual(drop.crowd_of(a_run(**{"buy: no answer": a_kind(1, 1, [1])})).unanswered, 1)

    def test_moves_are_held_against_mysql(self):
        heard = a_run([("confirmed", "a", "x"), ("lapsed", "b", "y"), ("lapsed", "c", "z"), ("confirmed", "c", "z")])
        right = {"a": "confirmed", "b": "expired", "c": "confirmed"}
        self.assertEqual(drop.moves_wrong(heard, right), 0)
        for change in ({"a": "expired"}, {"b": "confirmed"}, {"a": "held"}):
            self.assertEqual(drop.moves_wrong(heard, right | change), 1)
        self.assertEqual(drop.moves_wrong(heard, {}), 2)

    def test_a_connection_has_as_many_buyers_as_streams(self):
        self.assertEqual([drop.connections_for(count) for count in (1, 100, 101, 20_000)], [1, 1, 2, 200])

    def test_the_chart_shows_much_beside_little(self):
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "drop.svg"
            self.assertTrue(charts.over_time("x", drop.series(found_of()), path, log=True), "is gnuplot installed?")
            for name in ("looks", "orders (201, 202)", "sold out", "confirmed"):
                self.assertIn(f">{name}<", path.read_text())

    def test_the_crowd_is_given_all_that_is_planned(self):
        words = drop.command(PLAN, "visitors", "file")
        for word in ("--buyers=4", "--opens-at-ms=0", "--wait-ms=100", "--orders=file", "--port=1", "--host=127.0.0.1"):
            self.assertIn(word, words)

    def test_a_crowd_that_is_not_built_is_said_with_its_library(self):
        with tempfile.TemporaryDirectory() as directory:
            with self.assertRaisesRegex(CrowdError, "libnghttp2-dev"):
                drop.program(directory, "")


class Http2Test(unittest.TestCase):
    def answers(self, words):
        with socket.create_server(("127.0.0.1", 0)) as server:
            def serve():
                with server.accept()[0] as connection:
                    connection.recv(1000)
                    connection.sendall(words)
            thread = threading.Thread(target=serve)
            thread.start()
            found = h2.speaks_http2("http://127.0.0.1:%d" % server.getsockname()[1])
            thread.join()
        return found

    def test_a_service_that_offers_it_answers_with_settings(self):
        self.assertTrue(self.answers(bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))))
        for words in (b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", bytes((0, 0, 0, 7, 0, 0, 0, 0, 0))):
            self.assertFalse(self.answers(words))


if __name__ == "__main__":
    unittest.main()
