"""Tests of what loadtest/memory reckons: python3 -m lib.selftest_large, in loadtest

The buyers run against a server of a few lines (shop.py); no stack is needed.
"""

import time
import unittest

from . import bounds, buyers, large, largereport
from .buyers import Answer
from .shop import Shop


def answers(*pairs):
    """Of (seconds, status); each was sent a tenth of a second before."""
    return [Answer(at - 0.1, at, status) for at, status in pairs]


class GapTest(unittest.TestCase):
    HEARD = answers((1, 201), (2, 201), (2.5, 503), (5, 201), (5.5, 202), (6, 201), (9, 201))

    def test_the_longest_that_began_in_the_time(self):
        self.assertEqual(buyers.gap(self.HEARD, 1.5, 5.5), 3)
        self.assertEqual(buyers.gap(self.HEARD, 5, 7), 3)

    def test_what_was_before_does_not_count(self):
        self.assertEqual(buyers.gap(self.HEARD, 4, 5.5), 1)
        self.assertEqual(buyers.gap(self.HEARD, 4.5, 4.9), 0.5)

    def test_without_two_there_is_none(self):
        self.assertIsNone(buyers.gap(self.HEARD, 9, 12))
        self.assertIsNone(buyers.gap(self.HEARD[:1], 0, 12))

    def test_the_first_201_is_of_a_request_that_was_sent_later(self):
        self.assertEqual(buyers.first(self.HEARD, 4.95), 6)
        self.assertIsNone(buyers.first(self.HEARD, 9))

    def test_other_answers(self):
        self.assertEqual(buyers.others(self.HEARD, 2, 6), {503: 1, 202: 1})


class BuyersTest(unittest.TestCase):
    def buy(self, shop, until, pause_s=0.001):
        with buyers.Buyers(shop.url, "s", "n", count=4, pause_s=pause_s) as crowd:
            crowd.resume()
            deadline = time.monotonic() + 60
            while not until(crowd) and time.monotonic() < deadline:
                time.sleep(0.01)
            self.assertTrue(crowd.pause())
        return crowd

    def test_every_attempt_is_of_another_buyer_and_is_answered(self):
        with Shop(stock=100) as shop:
            crowd = self.buy(shop, lambda crowd: crowd.issued >= 200)
        self.assertEqual(shop.came.most_common(1)[0][1], 1)
        self.assertEqual((len(crowd.answers), crowd.sold), (crowd.issued, 100))
        self.assertEqual(set(buyers.others(crowd.answers, 0, time.monotonic())), {409})

    def test_a_connection_that_breaks_is_no_answer_and_is_made_anew(self):
        with Shop(stock=10**6, break_at=(20, 30)) as shop:
            crowd = self.buy(shop, lambda crowd: crowd.issued >= 100)
        self.assertEqual(buyers.others(crowd.answers, 0, time.monotonic()), {buyers.NO_ANSWER: 2})
        self.assertEqual(crowd.sold, len(crowd.answers) - 2)

    def test_a_server_that_stands_still_is_a_gap(self):
        with Shop(stock=10**6, stall_at=50, stall_s=0.5) as shop:
            crowd = self.buy(shop, lambda crowd: crowd.sold >= 100)
        self.assertGreaterEqual(buyers.gap(crowd.answers, 0, time.monotonic()), 0.45)

    def test_nobody_buys_before_resume_and_after_pause(self):
        with Shop(stock=10**6) as shop:
            crowd = self.buy(shop, lambda crowd: crowd.sold >= 10)
            issued = crowd.issued
            with buyers.Buyers(shop.url, "s", "x"):
                time.sleep(0.05)
        self.assertEqual(len(shop.came), issued)

    def test_a_server_that_is_not_there(self):
        crowd = self.buy(type("Gone", (), {"url": "http://127.0.0.1:1"}), lambda crowd: crowd.issued >= 4)
        self.assertEqual({answer.status for answer in crowd.answers}, {buyers.NO_ANSWER})


class FillTest(unittest.TestCase):
    def test_chunks_cover_all_once(self):
        self.assertEqual(large.chunks(1, 5, 2), [(1, 2), (3, 4), (5, 5)])
        self.assertEqual(large.chunks(7, 7, 2), [(7, 7)])
        self.assertEqual(large.chunks(8, 7, 2), [])


def a_size(orders):
    return {"orders": orders, "first_audit_s": 1, "buyers": orders, "bytes_per_buyer": 70.0, "redis_mb": 7.0,
            "mysql_mb": 1.0, "mysql_bytes_per_order": 300.0, "rss_mb": 20.0, "rss_most_mb": 30.0}


def a_result(*, gap_ms=100, first_ms=500, audit_s=5, ratio=0.95, sizes=(100_000, 2_000_000)):
    runs = []
    for orders in sizes:
        for turn in (1, 2, 3):
            for change in large.WORDS:
                run = {"gap_ms": gap_ms * turn, "quiet_gap_ms": 9, "others": {"503": turn}, "whole_ms": 5, "others_cores": 0}
                if change == large.FLUSHALL:
                    run["first_201_ms"] = first_ms
                runs.append({"orders": orders, "round": turn, "change": change} | run)
            runs.append({"orders": orders, "round": turn, "change": "audit", "audit_s": audit_s, "audited": orders,
                         "get_audit_s": 0.8, "others_cores": 0})
    runs.append({"orders": sizes[-1], "round": 1, "change": "beside", "audit_s": 9, "alone_per_s": 100, "beside_per_s": 95,
                 "beside_ratio": ratio})
    return {"machine": {"model": "m", "cores": 2}, "commit": "c", "taken_at": "t", "rounds": 3, "taken": None,
            "sizes": [a_size(orders) for orders in sizes], "runs": runs, "wrong": {}}


class LargeReportTest(unittest.TestCase):
    def verdicts(self, **members):
        return {row["name"]: row["verdict"] for row in largereport.judged(a_result(**members))}

    def test_medians_are_held_against_the_bounds(self):
        self.assertNotIn(bounds.MISSED, self.verdicts().values())
        for name, members in (("change_gap", {"gap_ms": 101}), ("first_201", {"first_ms": 2001}),
                              ("audit", {"audit_s": 10.1}), ("beside_audit", {"ratio": 0.89})):
            missed = [found for found, verdict in self.verdicts(**members).items() if verdict == bounds.MISSED]
            self.assertEqual(missed, [name])

    def test_the_gap_is_bounded_from_a_million_on(self):
        verdicts = self.verdicts(gap_ms=9999, sizes=(100_000, 500_000))
        self.assertEqual(verdicts["change_gap"], bounds.NOT_MEASURED)

    def test_the_gap_after_flushall_is_no_change(self):
        found = a_result()
        for run in found["runs"]:
            if run["change"] == large.FLUSHALL:
                run["gap_ms"] = 9999
        self.assertNotIn(bounds.MISSED, [row["verdict"] for row in largereport.judged(found)])

    def test_a_size_that_cannot_be_measured_is_said(self):
        found = a_result(sizes=(100_000,))
        found["sizes"].append({"orders": 2_000_000, "failed": "after 120 s no 201 has come"})
        found["wrong"] = {"2,000,000 orders": "after 120 s no 201 has come"}
        verdicts = {row["name"]: row["verdict"] for row in largereport.judged(found)}
        self.assertEqual(set(verdicts.values()), {bounds.NOT_MEASURED})
        found["runs"].append({"orders": 2_000_000, "round": 1, "change": "limit", "failed": "", "gap_ms": 120_000})
        shown = largereport.render(found | {"bounds": largereport.judged(found)})
        self.assertIn("WRONG: {'2,000,000 orders': 'after 120 s", shown)
        self.assertRegex(shown, r"two 201s at a change \| 120,000 ms .* MISSED")

    def test_the_report(self):
        found = a_result()
        shown = largereport.render(found | {"bounds": largereport.judged(found)})
        self.assertRegex(shown, r"\| 2,000,000 \| FLUSHALL +\| 200 \(100..300\)")
        self.assertIn("6 x 503", shown)
        self.assertIn("0.95 of it", shown)


if __name__ == "__main__":
    unittest.main()
