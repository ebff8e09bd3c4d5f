"""Ctrl-C and SIGTERM end a run gently: the first asks, the second leaves at once."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
    """While entered, remembers that somebody asked to stop.

    Only the main thread may handle signals; elsewhere this does nothing.
    """

    def __init__(self) -> None:
        self.requested = False
        self._kept: dict[int, Any] = {}

    def __enter__(self) -> "Interrupt":
        if threading.current_thread() is threading.main_thread():
            self._kept = {number: signal.signal(number, self._ask) for number in _SIGNALS}
        return self

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            self._restore()
            raise KeyboardInterrupt
        self.requested = True

    def _restore(self) -> None:
        for number, handler in self._kept.items():
            signal.signal(number, handler)
        self._kept = {}

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._restore()
