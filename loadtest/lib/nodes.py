"""Further services on the servers of a running stack, for as long as they are measured."""

import dataclasses
import os
import re
import signal
import socket
import subprocess
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

from .stack import StackError

READY_WITHIN_S = 60
POLL_S = 0.1


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def configuration(text, number, port, admin_port):
    """The configuration of the stack's own service, with another name and other listeners."""
    changes = (("http", "listen", f"127.0.0.1:{port}"), ("admin", "listen", f"127.0.0.1:{admin_port}"),
               ("node", "name", f"node-{number}"))
    for section, key, value in changes:
        text, count = re.subn(rf"(?m)^({section}:\n(?:  .*\n)*?  {key}: ).*$", rf"\g<1>{value}", text)
        if count != 1:
            raise StackError(f"the configuration of the stack has no {section}.{key}")
    return text


def program_of(stack):
    return os.readlink(f"/proc/{stack.pids['service'][0]}/exe")


@contextmanager
def node(stack, number):
    """One more service of the same program; it is stopped at the end."""
    directory = Path(stack.directory)
    port, admin_port = free_port(), free_port()
    config, log = directory / f"node-{number}.yaml", directory / f"node-{number}.log"
    config.write_text(configuration((directory / "config.yaml").read_text(), number, port, admin_port))
    with log.open("w") as out:
        process = subprocess.Popen([program_of(stack), "serve", "-c", str(config)], stdin=subprocess.DEVNULL, stdout=out,
                                   stderr=out, cwd=directory, env=os.environ)
    try:
        started = dataclasses.replace(stack, url=f"http://127.0.0.1:{port}",
                                      admin_url=f"http://127.0.0.1:{admin_port}", nodes=(),
                                      pids={"service": [process.pid]})
        wait_ready(started, process, log)
        yield started
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
        config.unlink()


def wait_ready(started, process, log):
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if started.get("/readyz")[0] == 200:
                return
        except StackError:
            pass
        time.sleep(POLL_S)
    raise StackError(f"a further service is not ready; its log, {log}, ends with: {log.read_text()[-500:]}")


def with_nodes(stack, more):
    """The stack with further services that run."""
    pids = stack.pids | {"service": stack.pids["service"] + [pid for one in more for pid in one.pids["service"]]}
    return dataclasses.replace(stack, nodes=tuple(more), pids=pids)


@contextmanager
def group(stack, count):
    """The stack with `count` services in all."""
    with ExitStack() as context:
        yield with_nodes(stack, [context.enter_context(node(stack, number)) for number in range(2, count + 1)])
