"""An order that a service has in hand: answered 202 and not ended, for as long as its item's row is locked in MySQL."""

import json
import subprocess
from contextlib import contextmanager

from . import tally
from .crowd import CrowdError

ENDS_WITHIN_S = 30  # after the lock: an order that was set aside is tried again after 10 s at most
LOCK_SQL = "BEGIN; SELECT 'locked' FROM inventory WHERE sku = '{sku}' FOR UPDATE;\n"


@contextmanager
def locked_row(stack, sku):
    """Another session of MySQL holds the item's row until the end."""
    socket = next(socket for socket in stack.mysql_sockets
                  if stack.mysql(socket, f"SELECT 1 FROM inventory WHERE sku = '{sku}';"))
    command = ["mariadb", "--no-defaults", "--skip-column-names", "--batch", "--unbuffered", f"--socket={socket}",
               f"--user={stack.mysql_user}", "holdfast"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
        try:
            client.stdin.write(LOCK_SQL.format(sku=sku))
            client.stdin.flush()
            if client.stdout.readline().strip() != "locked":
                raise CrowdError(f"the row of item {sku} could not be locked")
            yield
        finally:
            client.terminate()


@contextmanager
def order(stack, target):
    """The path of an order of the target's item, which stays `reserved` until the end."""
    buy(stack, target, "first")  # builds the gate, which needs the row
    tally.settle(stack, target)
    with locked_row(stack, target.name):
        yield "/v1/orders/" + buy(stack, target, "in-hand")


def buy(stack, target, buyer):
    """The order's id."""
    status, body = stack.buy(target.name, buyer)
    if status != 202:
        raise CrowdError(f"a purchase of {target.name} was answered {status}: {body.strip()[:300]}")
    target.told({202: 1}, 1, 0)
    return json.loads(body)["order_id"]


def waits_are_known(stack, path):
    """Whether the service knows `wait_ms`."""
    return stack.get(path + "?wait_ms=1")[0] == 200
