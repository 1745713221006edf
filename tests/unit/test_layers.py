#!/usr/bin/env python3
"""tests/layers finds includes that break the order of the folders: each is put into a copy of service/."""
import os
import shutil
import subprocess
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class Layers(unittest.TestCase):
    def setUp(self):
        self.tree = tempfile.mkdtemp(prefix="holdfast-layers.")
        self.addCleanup(shutil.rmtree, self.tree)
        shutil.copytree(os.path.join(ROOT, "service"), os.path.join(self.tree, "service"))

    def write(self, path, text):
        """Writes over a file of the copy, or makes it."""
        path = os.path.join(self.tree, "service", path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)

    def include(self, path, line):
        """Puts a line in front of a file of the copy."""
        with open(os.path.join(self.tree, "service", path), encoding="utf-8") as file:
            text = file.read()
        self.write(path, line + "\n" + text)

    def check(self, *expected):
        """The check says each of these and fails; it passes if there is none."""
        run = subprocess.run([os.path.join(ROOT, "tests/layers"), self.tree],
                             capture_output=True, text=True, check=False)
        said = run.stdout + run.stderr
        self.assertEqual(run.returncode, 1 if expected else 0, said)
        for text in expected:
            self.assertIn(text, said)

    def test_order_of_the_sources(self):
        self.check()

    def test_upward(self):
        self.include("store/db.c", '#include "work/shard.h"')
        self.check("service/store/db.c:1: store includes work/shard.h, and work is above store")

    def test_upward_to_the_top(self):
        self.include("admin/admin.c", '#  include "serve.h"')
        self.check("service/admin/admin.c:1: admin includes serve.h, and service/ is above admin")

    def test_upward_in_angles_or_by_a_relative_path(self):
        self.include("store/db.c", "#include <engine/engine.h>")
        self.include("gate/gate.c", '#include "../engine/engine.h"')
        self.check("service/store/db.c:1: store includes engine/engine.h",
                   "service/gate/gate.c:1: gate includes engine/engine.h")

    def test_sideways(self):
        self.include("gate/gate.h", '#include "store/db.h"')
        self.include("reconcile/pass.c", '#include "strategies/strategy.h"')
        self.check("service/gate/gate.h:1: gate includes store/db.h, and store is beside",
                   "service/reconcile/pass.c:1: reconcile includes strategies/strategy.h, and strategies is beside")

    def test_header_that_is_reserved(self):
        self.include("engine/purchase.c", '#include "engine/item_views.h"')
        self.include("admin/audit.c", '#include "engine/item_view.h"')
        self.check("service/engine/purchase.c:1: only engine/engine.c,", "no purchase, limit or audit may use it",
                   "service/admin/audit.c:1: only engine/item_views.c,")

    def test_circle_within_a_folder(self):
        self.write("base/one.h", '#include "base/two.h"\n')
        self.write("base/two.h", '\n#include "base/one.h"\n')
        self.check("service/base/two.h:2: a circle of includes: base/one.h -> base/two.h -> base/one.h")

    def test_folder_that_is_not_in_the_order(self):
        self.write("misc/misc.h", "")
        self.check("service/misc is not in the table of service/README.md")


if __name__ == "__main__":
    unittest.main()
