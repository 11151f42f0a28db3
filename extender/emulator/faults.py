"""Misbehaviour on demand: what a test scripts, happens, in the order it was scripted, and nothing else.

faults.fail_bindings(2, code=500)          # the next two bindings are refused before anything is stored
faults.drop_bindings(1)                    # stored, but the client never hears of it
faults.cut_watches()                       # every watch stream ends now
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from extender.emulator import status
from extender.emulator.resources import JSON
from extender.emulator.status import StatusError

_REASONS = {
    409: "Conflict",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


@dataclass(frozen=True, slots=True)
class BindingFault:
    """What happens to one binding.

    code:          answer with this status; None stores the binding and answers as usual.
    stored:        with `code` or `drop`: whether the binding is stored first.
    drop:          close the connection instead of answering.
    delay_s:       seconds between storing (or refusing) and answering.
    retry_after_s: sent with a 429 or 503.
    message:       the Status message; a default where it is empty.
    """

    code: int | None = None
    stored: bool = False
    drop: bool = False
    delay_s: float = 0.0
    retry_after_s: int = 0
    message: str = ""

    def refusal(self, pod: str) -> StatusError | None:
        """The error to answer with, None when the fault does not refuse."""
        if self.code is None:
            return None
        message = self.message or f"binding of pod {pod} failed as scripted"
        if self.code == 409 and not self.message:
            message = f'Operation cannot be fulfilled on pods/binding "{pod}": scripted conflict'
        headers = {"Retry-After": str(self.retry_after_s)} if self.retry_after_s else None
        details: JSON = {"name": pod, "kind": "pods/binding"}
        if self.retry_after_s:
            details["retryAfterSeconds"] = self.retry_after_s
        return StatusError(self.code, _REASONS.get(self.code, "InternalError"), message, details, headers)


@dataclass(slots=True)
class Faults:
    """The script of one API server. All methods take effect at once; none is random.

    request_delay_s: every request but watches waits that long before it is looked at.
    is_unavailable:  every request is answered 503.
    """

    request_delay_s: float = 0.0
    is_unavailable: bool = False
    _bindings: deque[BindingFault] = field(default_factory=deque)
    _cut_watches: Callable[[str | None, bool], int] | None = None
    _expire_history: Callable[[str], None] | None = None

    def fail_bindings(self, count: int = 1, code: int = 500, retry_after_s: int = 0, message: str = "") -> None:
        """Refuse the next `count` bindings with `code`; nothing is stored."""
        fault = BindingFault(code=code, retry_after_s=retry_after_s, message=message)
        self._bindings.extend([fault] * count)

    def drop_bindings(self, count: int = 1, stored: bool = True) -> None:
        """Close the connection of the next `count` bindings without an answer, stored or not."""
        self._bindings.extend([BindingFault(drop=True, stored=stored)] * count)

    def delay_bindings(self, count: int, delay_s: float) -> None:
        """Store the next `count` bindings at once and answer `delay_s` seconds later."""
        self._bindings.extend([BindingFault(stored=True, delay_s=delay_s)] * count)

    def script_binding(self, fault: BindingFault) -> None:
        """Add any fault for one binding."""
        self._bindings.append(fault)

    def next_binding(self) -> BindingFault | None:
        """Take the fault for the binding at hand off the script; None: it goes as usual."""
        return self._bindings.popleft() if self._bindings else None

    def unavailable(self, is_unavailable: bool = True) -> None:
        """Answer every request 503 until called with False. Open watches go on; `cut_watches` ends them."""
        self.is_unavailable = is_unavailable

    def cut_watches(self, plural: str | None = None, abort: bool = False) -> int:
        """End all watch streams (of one resource), cleanly or by aborting the connection; returns how many."""
        if self._cut_watches is None:
            return 0
        return self._cut_watches(plural, abort)

    def expire_history(self, plural: str) -> None:
        """Forget the watch history of a resource: resuming from before now answers 410."""
        if self._expire_history is not None:
            self._expire_history(plural)

    def attach(self, cut_watches: Callable[[str | None, bool], int], expire_history: Callable[[str], None]) -> None:
        """Join the script to a server; the server calls this."""
        self._cut_watches = cut_watches
        self._expire_history = expire_history


def unavailable() -> StatusError:
    """The 503 of a server that is up and cannot serve."""
    message = "the server is currently unable to handle the request"
    return status.StatusError(503, "ServiceUnavailable", message, {"retryAfterSeconds": 1}, {"Retry-After": "1"})
