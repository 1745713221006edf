"""Tests of the model on paper, and of the tables of SCALING.md: python3 -m lib.selftest_model, in loadtest"""

import unittest

from . import model, scaling, stack
from .selftest_large import a_result


class FakeResults:
    """Files that are not there but as they are given."""

    def __init__(self, **files):
        self.files = files

    def read(self, name):
        if name not in self.files:
            raise model.NotMeasured(f"Not measured yet: {name}")
        return self.files[name]


def a_comparison(fixed=700.0, each=16.0, touched=20.0):
    """Of servers that all cost that, MariaDB twice as much; each measure has a batch of its own."""
    def run(measure, batch, us):
        return {"measure": measure, "round": 1, "accepted": 1000 * batch, "writer_commits": 1000, "orders_per_s": 38000,
                "cpu_us": {"service": us, "redis": us, "mysql": 2 * us}, "cpu_us_per_answer": 4 * us}
    batches = {"h1_20": 11, "half_load": 20, "committed_lua": 64, "committed_lua_1000": 300, "nodes_1": 176, "nodes_3": 98,
               "h2_20x50": 423, "sold_out_lua": 1, "bare": 1, "accepted": 512}
    runs = [run(name, batch, fixed / batch + each) for name, batch in batches.items()]
    items = model.touched(model.ZIPF_ITEMS, 26)
    runs.append(run("zipf", 26, fixed / 26 + each + touched * (items - 1) / 26))
    return {"runs": runs, "setup": {"connections": 128}, "machine": {"model": "m"}}


class ModelTest(unittest.TestCase):
    RESULTS = FakeResults(compare=a_comparison())

    def test_constants_are_found_again(self):
        for server, cost in model.Model(self.RESULTS).costs.items():
            times = 2 if server == "mysql" else 1
            self.assertAlmostEqual(cost.fixed, 700 * times)
            self.assertAlmostEqual(cost.each, 16 * times)
            self.assertAlmostEqual(cost.touched, 20 * times)

    def test_items_that_a_batch_touches(self):
        self.assertAlmostEqual(model.touched(1, 100), 1)
        self.assertAlmostEqual(model.touched(10**6, 1), 1)
        whole = sum(1 / rank for rank in range(1, 10_001))
        exact = sum(1 - (1 - 1 / rank / whole) ** 100 for rank in range(1, 10_001))
        self.assertAlmostEqual(model.touched(10_000, 100), exact, delta=0.01 * exact)

    def test_what_runs_out_first(self):
        found = model.Model(self.RESULTS)
        self.assertEqual(found.first(1, 1, 1)[0], "its row")
        self.assertEqual(found.first(1, 100, 10_000)[0], "Redis")
        self.assertGreater(found.limits(3, 10, 10_000)["writers"], found.limits(1, 10, 10_000)["writers"])
        self.assertLess(found.nodes_us(1), found.nodes_us(10))

    def test_a_line(self):
        self.assertEqual(model.line([(1, 5), (3, 9)]), (3, 2))

    def test_sizes_that_could_not_be_measured_are_left_out(self):
        found = a_result(sizes=(100_000,))
        found["sizes"].append({"orders": 2_000_000, "failed": "after 120 s no 201 has come"})
        self.assertEqual(scaling.large_line(found, None, "redis_mb"), (7, 0))

    def test_where_a_bound_is_passed(self):
        self.assertEqual(scaling.out_at(100, 0.001, 200), "100,000")
        self.assertEqual((scaling.out_at(100, 0, 200), scaling.out_at(300, 0.001, 200)), ("no size", "0"))

    def test_what_was_not_measured_is_said(self):
        text = "".join(scaling.BEGIN.format(name) + "outdated\n" + scaling.END for name in scaling.TABLES)
        now = scaling.rewritten(text, self.RESULTS)
        self.assertEqual(now.count("Not measured yet: scale"), 2)
        self.assertNotIn("outdated", now)
        self.assertEqual(scaling.rewritten(now, self.RESULTS), now)
        with self.assertRaisesRegex(ValueError, "no place for the table first"):
            scaling.rewritten("", self.RESULTS)

    def test_all_tables(self):
        footprint = {"measure": "footprint", "round": 1, "loops": 1, "writers": 1, "mysql_connections": 20}
        shape = {"round": 1, "loops": 1, "writers": 1, "shards": 1, "answers_per_s": 9.0, "orders_per_s": 8.0}
        scale = [footprint | {"shards": 1, "threads": 30}, footprint | {"shards": 4, "threads": 90}]
        scale += [shape | {"measure": name} for name in ("sold_out", "one_item", "many_items")]
        items = {"redis_bytes_per_item": 700, "node_bytes_per_item": 1000, "round_s": 100, "node_percent": 1, "ready_s": 1,
                 "metrics_ms": 5}
        results = FakeResults(compare=a_comparison(), memory=a_result(), scale={"runs": scale, "machine": {"model": "m"}},
                              items={"items": 100_000, "shards": 2, "derived": items, "machine": {"model": "m"}})
        shown = {name: table(results) for name, table in scaling.TABLES.items()}
        self.assertIn("| 10    | 100    | 2,000             | 200", shown["shards"])
        self.assertIn("25 nodes; 7", shown["first"])
        self.assertIn("| 1,000,000            | 670       |", shown["items"])

    def test_the_text_says_what_the_results_say(self):
        text = (stack.ROOT / "loadtest" / "SCALING.md").read_text()
        self.assertEqual(scaling.rewritten(text, model.Results()), text, "run loadtest/model")


if __name__ == "__main__":
    unittest.main()
