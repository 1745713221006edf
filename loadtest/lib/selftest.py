"""Tests of the load tests' own reckoning: python3 -m lib.selftest, in loadtest

The crowd runs against a server of a few lines (shop.py); no stack is needed.
"""

import io
import os
import subprocess
import sys
import tempfile
import unittest
from dataclasses import replace
from pathlib import Path

from . import audit, crowd, many, options, report, sale, stack, volley
from .audit import Books, Gate, Order, Row
from .shop import Shop

ROW = Row(slot=1, bucket=0, total=2, allocated=2, per_buyer_limit=1, epoch=7, strategy="lua")
GATE = {"epoch": "7", "closed": "0", "capacity": "5",
        "reserved": "4", "unreserved": "1", "settled": "2", "released": "0"}
TERMS = {"hold_seconds": 0, "per_buyer_limit": 1, "quantity": 1}


def run_spike(*words, environment=None):
    """As a person would, with no stack of the environment unless it is given."""
    bare = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
    return subprocess.run([sys.executable, stack.ROOT / "loadtest" / "spike", *words], env=bare | (environment or {}),
                          stdin=subprocess.DEVNULL, capture_output=True, text=True)


def sold_two():
    """Two units, three buyers, all as it should be."""
    books = Books([ROW], {"a": Order("confirmed", 1, "b1"), "b": Order("held", 1, "b2")})
    heard = crowd.Crowd(ended="answered", issued=3, answered=3, accepted=2, sold_out=1, answered_201=["a", "b"])
    return books, heard


class AuditTest(unittest.TestCase):
    def wrong(self, books, heard, gate=Gate(0), terms=TERMS):
        return audit.examine(books, gate, heard, terms).wrong()

    def test_a_right_sale_has_nothing_wrong(self):
        self.assertEqual(self.wrong(*sold_two()), {})

    def test_an_order_that_is_gone_is_lost(self):
        books, heard = sold_two()
        heard.answered_201.append("c")
        self.assertEqual(self.wrong(books, heard), {"lost": 1})

    def test_a_cancelled_order_is_lost_and_an_expired_hold_is_not(self):
        books, heard = sold_two()
        books.rows = [replace(ROW, allocated=1)]
        books.orders["b"] = Order("cancelled", 1, "b2")
        self.assertEqual(self.wrong(books, heard), {"lost": 1, "unsold": 1})
        books.orders["b"] = Order("expired", 1, "b2")
        self.assertEqual(self.wrong(books, heard, terms=TERMS | {"hold_seconds": 5}), {})

    def test_more_live_units_than_the_total_are_oversold(self):
        books, heard = sold_two()
        books.orders["c"] = Order("confirmed", 1, "b3")
        heard.answered_201.append("c")
        self.assertEqual(self.wrong(books, heard), {"oversold": 1, "unbalanced": 1})

    def test_an_id_given_twice_and_a_buyer_with_two_orders_are_duplicated(self):
        books, heard = sold_two()
        heard.answered_201.append("a")
        self.assertEqual(self.wrong(books, heard), {"duplicated": 1})
        books, heard = sold_two()
        books.orders["b"] = Order("held", 1, "b1")
        self.assertEqual(self.wrong(books, heard), {"duplicated": 1})

    def test_a_live_order_of_a_refused_buyer_is_found_and_of_an_unanswered_one_is_forgiven(self):
        books, heard = sold_two()
        heard.answered_201.remove("b")
        self.assertEqual(self.wrong(books, heard), {"refused_live": 1})
        heard.issued += 1
        self.assertEqual(self.wrong(books, heard), {})

    def test_an_order_answered_202_must_have_ended_in_some_state(self):
        books, heard = sold_two()
        books.orders["c"] = Order("rejected", 1, "b3")
        heard.answered_202 = ["c", "d"]
        self.assertEqual(self.wrong(books, heard), {"undecided": 1})

    def test_a_gate_that_cannot_be_told_is_wrong(self):
        self.assertEqual(self.wrong(*sold_two(), gate=Gate(None)), {"drift": None})

    def test_orders_from_before_the_crowd_are_not_its_own(self):
        books, heard = sold_two()
        books.rows = [replace(ROW, total=3, allocated=3)]
        books.orders["old"] = Order("confirmed", 1, "alice")
        self.assertEqual(self.wrong(books, heard), {"refused_live": 1})
        self.assertEqual(audit.examine(books, Gate(0), heard, TERMS, {"old"}).wrong(), {})
        books.orders["old"] = Order("confirmed", 1, "b1")  # with it, that buyer has more than the limit
        self.assertEqual(audit.examine(books, Gate(0), heard, TERMS, {"old"}).wrong(), {"duplicated": 1})

    def test_buyers_who_came_after_the_sale_left_nothing_unsold(self):
        books, heard = sold_two()
        books.rows, books.orders = [replace(ROW, allocated=0)], {}
        heard = crowd.Crowd(ended="answered", issued=3, answered=3, refused={"409 sale_ended": 3})
        self.assertEqual(self.wrong(books, heard), {})

    def test_invariant_b(self):
        row = replace(ROW, total=10, allocated=7)  # 10 - 7 - 1 unsettled = 2 = 5 - 4 + 1
        self.assertEqual((audit.invariant_b(row, GATE).drift, audit.invariant_b(row, GATE).unsettled), (0, 1))
        self.assertEqual(audit.invariant_b(row, GATE | {"capacity": "8"}).drift, 3)
        for strange in ({}, GATE | {"closed": "1"}, GATE | {"epoch": "6"}):
            self.assertIsNone(audit.invariant_b(row, strange).drift)


class WatchTest(unittest.TestCase):
    PLAN = crowd.Plan("", "s", buyers=10, seconds=1, connections=4, threads=1)

    def test_why_a_crowd_ends(self):
        seen = crowd.Progress(share=10, issued=10, answered=9, parked=4)
        self.assertIsNone(crowd.why_end(seen, self.PLAN, idle_s=0.1))
        self.assertEqual(crowd.why_end(seen, self.PLAN, idle_s=2), "lost answers")
        self.assertEqual(crowd.why_end(replace(seen, parked=3), self.PLAN, idle_s=15), "stalled")
        self.assertEqual(crowd.why_end(replace(seen, gave_up=1), self.PLAN, idle_s=2), "gone")
        self.assertEqual(crowd.why_end(replace(seen, answered=10), self.PLAN, idle_s=0), "answered")

    def test_parked_connections_closed_for_idleness_are_no_errors(self):
        heard = crowd.Crowd(ended="time", issued=10, answered=9)
        wrk = {"connect": 0, "read": 3, "write": 0, "timeout": 0}
        crowd.add_errors(heard, wrk, [{"parked": 7, "malformed": 0}], self.PLAN)
        self.assertEqual(heard.errors, {})
        crowd.add_errors(heard, wrk, [{"parked": 4, "malformed": 0}], self.PLAN)
        self.assertEqual(heard.errors, {"no answer": 1})

    def test_what_could_not_be_sent_is_told_from_what_was_not_answered(self):
        heard = crowd.Crowd(ended="gone", issued=30, answered=10)
        wrk = {"connect": 0, "read": 4, "write": 16, "timeout": 0}
        crowd.add_errors(heard, wrk, [{"parked": 0, "malformed": 0}], self.PLAN)
        self.assertEqual(heard.errors, {"no answer": 4, "could not be sent": 16})
        self.assertEqual((heard.issued, heard.unanswered), (14, 4))


class ExistingItemTest(unittest.TestCase):
    ITEM = {"sku": "poster", "total": 1000, "available": 990, "per_buyer_limit": 2, "hold_seconds": 300,
            "starts_at": None, "ends_at": "2026-11-21T03:54:01.386Z", "strategy": "watch"}

    def refusal(self, quantity=1, now="2026-11-20T00:00:00.000Z", **members):
        with self.assertRaises(stack.StackError) as caught:
            sale.terms_of(self.ITEM | members, quantity, now)
        return str(caught.exception)

    def test_its_own_terms_are_those_of_the_sale(self):
        self.assertEqual(sale.terms_of(self.ITEM, 2, "2026-11-20T00:00:00.000Z"),
                         {"total": 1000, "per_buyer_limit": 2, "hold_seconds": 300, "strategy": "watch", "quantity": 2})
        sale.terms_of(self.ITEM | {"per_buyer_limit": 0, "ends_at": None}, 5, "2026-11-20T00:00:00.000Z")

    def test_a_sale_in_which_nobody_can_buy_is_not_held(self):
        self.assertIn("at most 2", self.refusal(quantity=3))
        self.assertIn("starts at 2026-11-20T00:00:00.001Z", self.refusal(starts_at="2026-11-20T00:00:00.001Z"))
        self.assertIn("ended at 2026-11-21T03:54:01.386Z", self.refusal(now="2026-11-21T03:54:01.386Z"))

    def test_an_item_that_is_not_there_is_not_made(self):
        class Empty:
            def get(self, path):
                return 404, "{}"
        with self.assertRaisesRegex(stack.StackError, "there is no item gone"):
            sale.find_item(Empty(), "gone")

    def test_terms_of_its_own_cannot_be_asked_for(self):
        for option in (["--stock", "9"], ["--strategy", "lua"], ["--hold-seconds", "1"]):
            done = run_spike("--sku", "poster", *option)
            self.assertEqual(done.returncode, 2)
            self.assertIn(option[0], done.stderr.splitlines()[-1])


class AdviceTest(unittest.TestCase):
    """What a tool says to do works for the stack that it was told of."""

    def test_a_stack_that_is_not_there(self):
        done = run_spike("--dir", "/nowhere/a b")
        self.assertEqual(done.returncode, 2)
        self.assertIn("deploy/up --dir '/nowhere/a b'", done.stderr)

    def test_a_stack_that_does_not_answer(self):
        with tempfile.TemporaryDirectory() as directory:
            settings = {name: "x" for name in stack.REQUIRED} | {"HOLDFAST_DIR": directory}
            settings |= {"HOLDFAST_URL": "http://127.0.0.1:1", "HOLDFAST_ADMIN_URL": "http://127.0.0.1:1"}
            (Path(directory) / "env").write_text("".join(f"export {name}={value}\n" for name, value in settings.items()))
            given, found = run_spike("--dir", directory), run_spike(environment=settings)
        for done in (given, found):
            self.assertEqual(done.returncode, 2)
            self.assertIn(f"Start it with: deploy/up --dir {directory}\n", done.stderr)

    def test_the_default_stack_needs_no_directory(self):
        self.assertEqual(stack.directory_option(None, {"HOLDFAST_DIR": str(stack.ROOT / ".run")}), "")
        self.assertEqual(stack.directory_option(None, {}), "")


class ProgressTest(unittest.TestCase):
    def test_a_line_every_few_seconds_where_there_is_no_terminal(self):
        stream = io.StringIO()
        line = report.OpenProgressLine(10, stream)
        for tenths in range(1, 100):
            line(tenths / 10, volley.Progress(attempts=2000, answered=1500, orders=700))
        line.close()
        shown = stream.getvalue().splitlines()
        self.assertTrue(2 <= len(shown) <= 5, shown)
        self.assertRegex(shown[0], r"of 10 s .*2,000 attempts.*1,500 answered.*700 orders")

    def test_one_line_on_a_terminal(self):
        stream = io.StringIO()
        stream.isatty = lambda: True
        line = report.OpenProgressLine(10, stream)
        for second in range(1, 10):
            line(second, volley.Progress(attempts=1, answered=1, orders=1))
        line.close()
        self.assertNotIn("\n", stream.getvalue())
        self.assertTrue(stream.getvalue().endswith("\r\033[K"))


class SmallPartsTest(unittest.TestCase):
    def test_counters(self):
        text = 'holdfast_aborts_total{strategy="lua"} 3\nholdfast_retries_total{strategy="lua"} 1.5e1\nother 1\n'
        self.assertEqual(stack.parse_counters(text), {("aborts", "lua"): 3, ("retries", "lua"): 15})

    def test_a_sku_is_what_the_service_takes(self):
        for text in ("poster", "a:b~c.d_e-1", "1" * 64):
            self.assertEqual(options.sku(text), text)
        for text in ("", "-a", "a b", "a'b", "a/b", "a" * 65):
            with self.assertRaises(Exception):
                options.sku(text)

    def test_numbers_that_are_none_are_refused(self):
        for text in ("0", "-1", "1.5", "1e3", "", "٣", "9" * 40):
            with self.assertRaises(Exception):
                options.number(1, 100)(text)


class CrowdTest(unittest.TestCase):
    def drive(self, shop, buyers, connections, threads, seconds=20):
        plan = crowd.Plan(shop.url, "sku", buyers, seconds, connections, threads)
        with tempfile.TemporaryDirectory() as directory:
            return crowd.drive(plan, directory, lambda *_: None)

    def test_every_buyer_comes_exactly_once(self):
        for buyers, connections, threads in ((1, 1, 1), (3, 16, 1), (1001, 16, 1), (1000, 12, 3)):
            with self.subTest(buyers=buyers, threads=threads), Shop(stock=10) as shop:
                heard = self.drive(shop, buyers, connections, threads)
                self.assertEqual((heard.ended, heard.issued, heard.answered), ("answered", buyers, buyers))
                self.assertEqual((len(shop.came), shop.came.total()), (buyers, buyers))
                self.assertEqual(len(set(heard.answered_201)), min(10, buyers))
                self.assertEqual(heard.accepted + heard.sold_out, buyers)
                self.assertEqual(heard.errors, {})

    def test_a_lost_answer_is_an_error_and_its_buyer_does_not_come_again(self):
        with Shop(stock=10, break_at=(50, 60)) as shop:
            heard = self.drive(shop, 300, 8, 2)
        self.assertEqual((heard.ended, heard.issued, heard.answered), ("lost answers", 300, 298))
        self.assertEqual(heard.errors, {"no answer": 2})
        self.assertEqual(shop.came.most_common(1)[0][1], 1)

    def test_the_time_is_a_bound(self):
        with Shop(stock=10) as shop:
            heard = self.drive(shop, 90_000_000, 8, 1, seconds=1)
        self.assertEqual((heard.ended, heard.errors), ("time", {}))
        self.assertLessEqual(heard.unanswered, 8)


class ManyItemsTest(unittest.TestCase):
    def test_slots_are_those_of_the_service(self):
        known = {"it-00000000": 863, "it-00000001": 676, "it-00099999": 669, "abcdefghi": 160, "abcdefghijklmnop": 168}
        self.assertEqual({sku: many.slot_of(sku) for sku in known}, known)

    def test_rows_are_written_some_at_a_time(self):
        texts = list(many.insert_texts([(many.name_of("it-", at), at % 1024) for at in range(2500)], "lua", 7))
        self.assertEqual([text.count("('it-") for text in texts], [1000, 1000, 500])
        self.assertIn("('it-00000003',0,3,7,", texts[0])

    def test_an_answer_ends_with_its_body(self):
        whole = b"HTTP/1.1 201 OK\r\nContent-Length: 3\r\n\r\nabc"
        self.assertIsNone(many.status_and_end(whole[:-1]))
        self.assertIsNone(many.status_and_end(whole[:20]))
        self.assertEqual(many.status_and_end(whole + b"HTTP"), (201, len(whole)))

    def test_the_busiest_node_and_the_rest_are_held_to_their_bounds(self):
        def part(node, servers, nodes_mb, compared):
            return {"percent": {"node 1": node, "node 2": 0.1, "Redis": servers, "MariaDB": servers},
                    "a_second": {"compared": compared}, "nodes_mb": nodes_mb, "redis_mb": 1, "gates": 0}
        found = {"items": 100_000, "ready_s": [0.2, 0.3], "unasked": part(0.5, 1, [10, 10], 128),
                 "sold": part(1.5, 1.5, [20, 20], 100), "purchases": {"answers": {201: 10_000}},
                 "metrics": {"ms": 1, "bytes": 1}, "status": {"ms": 1, "bytes": 1}, "epoch_poll": {"read": 0}}
        values = many.derived(found)
        self.assertEqual((values["node_percent"], values["servers_percent"], values["round_s"], values["ready_s"]),
                         (1.5, 1.5, 1000, 0.3))
        self.assertEqual(values["node_bytes_per_item"], round(20 * 2**20 / 10_000))
        self.assertTrue(many.misses(found))  # that memory
        found["sold"]["nodes_mb"] = [12, 12]
        self.assertFalse(many.misses(found))
        found["sold"]["percent"]["node 2"] = 2.5
        self.assertTrue(many.misses(found))
        self.assertFalse(many.misses(found | {"items": 1000}))


if __name__ == "__main__":
    unittest.main()
