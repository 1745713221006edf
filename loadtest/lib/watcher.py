"""The service's queues while a crowd runs."""

import threading
from contextlib import contextmanager

from . import idle
from .openreport import raise_highest

LOOK_EVERY_S = 0.2


class Watcher:
    """The highest values that were seen."""

    def __init__(self, stack):
        self.stack, self.highest = stack, {}

    @contextmanager
    def watching(self):
        stop = threading.Event()
        thread = threading.Thread(target=self._look, args=(stop,))
        thread.start()
        try:
            yield self.highest
        finally:
            stop.set()
            thread.join()

    def _look(self, stop):
        while not stop.wait(LOOK_EVERY_S):
            raise_highest(self.highest, self.stack.metrics(), idle.QUEUES)
