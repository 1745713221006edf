"""A stack of one's own, for as long as something is measured."""

import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

from .stack import ROOT, StackError, open_stack


def deploy(command, *arguments):
    done = subprocess.run([str(ROOT / "deploy" / command), *map(str, arguments)], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True)
    if done.returncode != 0:
        raise StackError(f"deploy/{command} failed: {(done.stderr or done.stdout).strip()[-500:]}")


def bring_up(directory, shards, loops, writers, build_dir, settings=()):
    deploy("up", "--dir", directory, "--port", 0, "--shards", shards, "--no-build", "--build-dir", build_dir,
           "--set", f"http.threads={loops}", "--set", f"mysql.writer_threads={writers}",
           *(word for setting in settings for word in ("--set", setting)))
    return open_stack(directory)


@contextmanager
def stack(build_dir, shards=1, settings=()):
    """One loop, and one writer a shard, and "name=value" settings; wiped at the end."""
    with tempfile.TemporaryDirectory(prefix="holdfast-own-", dir="/var/tmp") as base:
        directory = Path(base) / "stack"
        try:
            yield bring_up(directory, shards, 1, 1, build_dir, settings)
        finally:
            if directory.exists():
                deploy("down", "--dir", directory, "--wipe")
