"""A few buyers, each on a connection of his own, who buy one unit after the other and remember when each answer came.

Every attempt is of another buyer. A buyer sends `pause_s` after his last answer, so that a measurement of a minute adds
little to the item that is measured. What is asked of the record afterwards (gap, others) is pure.
"""

import json
import re
import selectors
import socket
import threading
import time
import urllib.parse
from collections import Counter
from dataclasses import dataclass

COUNT = 8
PAUSE_S = 0.01
ANSWER_WITHIN_S = 120
QUIET_WITHIN_S = 120
NO_ANSWER = 0
LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.I)


@dataclass(frozen=True)
class Answer:
    sent_at: float  # monotonic
    at: float
    status: int     # NO_ANSWER: the connection broke, or it took too long


def whole(data):
    """The status of an answer that is all there, else None."""
    head, end, body = data.partition(b"\r\n\r\n")
    length = LENGTH.search(head)
    if not end or len(body) < int(length[1] if length else 0):
        return None
    return int(head.split(b" ", 2)[1])


class Buyer:
    def __init__(self, address):
        self.address, self.socket, self.data = address, None, b""
        self.sent_at = None  # None: no request is under way
        self.next_at = 0.0

    def send(self, request, selector):
        try:
            if self.socket is None:
                self.socket = socket.create_connection(self.address, 5)
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                selector.register(self.socket, selectors.EVENT_READ, self)
            self.data, self.sent_at = b"", time.monotonic()
            self.socket.sendall(request)
        except OSError:
            self.close(selector)

    def hear(self):
        """A status, NO_ANSWER of a connection that broke, or None while the answer is not all there."""
        try:
            data = self.socket.recv(65536)
        except OSError:
            data = b""
        self.data += data
        return whole(self.data) if data else NO_ANSWER

    def close(self, selector):
        if self.socket is not None:
            selector.unregister(self.socket)
            self.socket.close()
            self.socket = None


class Buyers:
    """They buy within the context, from resume() to pause()."""

    def __init__(self, url, sku, word, count=COUNT, pause_s=PAUSE_S):
        parts = urllib.parse.urlsplit(url)
        self.sku, self.word, self.pause_s = sku, word, pause_s
        self.buyers = [Buyer((parts.hostname, parts.port)) for _ in range(count)]
        self.answers, self.sold, self.issued = [], 0, 0
        self._stop, self._paused, self._idle = threading.Event(), threading.Event(), threading.Event()
        self._paused.set()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.pause()
        self._stop.set()
        self._thread.join()

    def pause(self):
        """Returns when nothing is under way; False when that takes too long."""
        self._idle.clear()
        self._paused.set()
        return self._idle.wait(QUIET_WITHIN_S)

    def resume(self):
        self._paused.clear()

    def _run(self):
        with selectors.DefaultSelector() as selector:
            while not self._stop.is_set():
                self._send_due(selector)
                self._hear(selector)
            for buyer in self.buyers:
                buyer.close(selector)

    def _send_due(self, selector):
        now = time.monotonic()
        for buyer in self.buyers:
            if buyer.sent_at is None and buyer.next_at <= now and not self._paused.is_set():
                self.issued += 1
                buyer.sent_at = now
                buyer.send(self._request(), selector)
                if buyer.socket is None:
                    self._end(buyer, NO_ANSWER, selector)
            elif buyer.sent_at is not None and now - buyer.sent_at > ANSWER_WITHIN_S:
                self._end(buyer, NO_ANSWER, selector)
        if self._paused.is_set() and all(buyer.sent_at is None for buyer in self.buyers):
            self._idle.set()

    def _request(self):
        body = json.dumps({"sku": self.sku, "buyer_id": f"{self.word}{self.issued:09d}", "quantity": 1})
        return (f"POST /v1/orders HTTP/1.1\r\nHost: holdfast\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n{body}").encode()

    def _hear(self, selector):
        for key, _ in selector.select(self.pause_s / 2) if selector.get_map() else ():
            status = key.data.hear()
            if status is not None:
                self._end(key.data, status, selector)
        if not selector.get_map():
            time.sleep(self.pause_s / 2)

    def _end(self, buyer, status, selector):
        now = time.monotonic()
        if buyer.sent_at is not None:
            self.answers.append(Answer(buyer.sent_at, now, status))
            self.sold += status == 201
        if status == NO_ANSWER:
            buyer.close(selector)
        buyer.sent_at, buyer.next_at = None, now + self.pause_s


def gap(answers, since, until):
    """The longest time between two 201s that began before `until`; its part before `since` does not count.

    None: there are no two.
    """
    times = [answer.at for answer in answers if answer.status == 201]
    gaps = [later - max(earlier, since) for earlier, later in zip(times, times[1:]) if later > since and earlier < until]
    return max(gaps, default=None)


def first(answers, since):
    """When the first 201 came whose request was sent after this moment; None: not yet."""
    return next((answer.at for answer in answers if answer.status == 201 and answer.sent_at >= since), None)


def others(answers, since, until):
    """{status: count} of what was answered then and is no 201."""
    return dict(Counter(answer.status for answer in answers if answer.status != 201 and since <= answer.at <= until))
