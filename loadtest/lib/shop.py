"""A server of a few lines, for the tests of the load tools."""

import asyncio
import re
import threading
import time
from collections import Counter


class Shop:
    """Sells `stock` units over HTTP/1.1 and remembers who came. A key that comes again gets its first order, and
    `Idempotency-Replayed`.

    Of its callers, counted from 1, it breaks the connection of those in `break_at`, answers 503 to those in `busy_at`,
    and at the one that is `stall_at` it stands still for `stall_s`: nobody is answered meanwhile.
    """

    def __init__(self, stock, break_at=(), busy_at=(), stall_at=0, stall_s=0.0):
        self.stock, self.break_at, self.busy_at = stock, break_at, busy_at
        self.stall_at, self.stall_s = stall_at, stall_s
        self.came = Counter()  # body -> how often
        self.paths = Counter()  # "POST /v1/orders" -> how often
        self.keys = Counter()  # body -> how often with an Idempotency-Key
        self.kept = {}         # body with an Idempotency-Key -> its order

    def __enter__(self):
        self.loop = asyncio.new_event_loop()
        self.server = self.loop.run_until_complete(asyncio.start_server(self.serve, "127.0.0.1", 0))
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.url = "http://127.0.0.1:%d" % self.server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.server.close()
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.close()

    async def serve(self, reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.paths[head.partition(b" HTTP/")[0].decode()] += 1
                length = re.search(rb"content-length: (\d+)", head.lower())
                order = await reader.readexactly(int(length[1]) if length else 0)
                self.came[order] += 1
                keyed = b"\r\nidempotency-key:" in head.lower()
                self.keys[order] += keyed
                if self.came.total() == self.stall_at:
                    time.sleep(self.stall_s)
                if self.came.total() in self.break_at:
                    break
                replayed = b"Idempotency-Replayed: true\r\n" if keyed and order in self.kept else b""
                status, body = self.kept[order] if replayed else self.sell()
                if keyed and status.startswith(b"201"):
                    self.kept[order] = status, body
                writer.write(b"HTTP/1.1 %s\r\n%sContent-Length: %d\r\n\r\n%s" % (status, replayed, len(body), body))
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        writer.close()

    def sell(self):
        if self.came.total() in self.busy_at:
            return b"503 Service Unavailable", b'{"code":"unavailable"}'
        if self.stock == 0:
            return b"409 Conflict", b'{"code":"sold_out"}'
        self.stock -= 1
        return b"201 Created", b'{"order_id":"00000000-0000-7000-8000-%012x"}' % self.stock
