"""The programs that the load tools run: which Debian package has each, installed or at least named when it is missing.

As root on Debian what is missing is installed in the way of deploy/up (deploy/lib.sh, packages_install).
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {
    "wrk": "wrk",
    "mariadb": "mariadb-client",
    "redis-cli": "redis-tools",
    "redis-server": "redis-server",
    "h2load": "nghttp2-client",
    "gnuplot": "gnuplot-nox",
}
STACK = ("wrk", "mariadb", "redis-cli")  # for a crowd, and for the audit
CHART = ("gnuplot",)
# Measure of compare -> what it needs besides.
MEASURES = {"h1_20": "h2load", "h2_20x50": "h2load", "nginx_lua": "redis-server", "nginx_lua_1000": "redis-server"}


class NeedError(Exception):
    """A program is missing; the text names its package."""


def of_measures(measures):
    return [*STACK, *dict.fromkeys(MEASURES[measure] for measure in measures if measure in MEASURES)]


def packages_of(programs):
    return list(dict.fromkeys(PACKAGES[program] for program in programs))


def install(packages):
    """Says what it installs, and why it cannot; nothing if this is not root's to do, or not Debian."""
    if os.geteuid() != 0 or not shutil.which("dpkg-query") or not shutil.which("bash"):
        return
    script = 'source "$1/deploy/lib.sh"; shift; packages_install "$@"'
    subprocess.run(["bash", "-c", script, sys.argv[0], str(ROOT), *packages], stdin=subprocess.DEVNULL)


def missing(programs, find=shutil.which, get=install):
    """Those that are not there even after an attempt to install them."""
    absent = [program for program in programs if not find(program)]
    if absent:
        get(packages_of(absent))
    return [program for program in absent if not find(program)]


def words(absent):
    are = "is" if len(absent) == 1 else "are"
    return f"{', '.join(absent)} {are} missing; install with: apt-get install {' '.join(packages_of(absent))}"


def require(programs, find=shutil.which, get=install):
    absent = missing(programs, find, get)
    if absent:
        raise NeedError(words(absent))
