"""Every error this package raises on purpose. Broken promises only: an ordinary "no" is a `model.Verdict`.

    RunaiError
    ├── ConfigError            a setting, file or flag that cannot be used
    ├── MalformedError         bytes from outside that are not what the protocol says
    ├── RefusedError           an object that cannot be given what it lacks; the text is for its owner
    ├── InvariantError         our own books do not add up
    ├── DeviceError            the GPU that a reservation pod is to hold: not there, not the only one, lost
    ├── ReservationError       a device could not be held for a share
    └── ApiError               the API server said no, or nothing
        ├── BadRequestError       400, 422: the request itself is wrong; repeating it is pointless
        ├── UnauthorizedError     401, 403
        ├── NotFoundError         404
        ├── ConflictError         409: somebody else was first; read, then decide
        ├── GoneError             410: the resourceVersion is too old; list again
        ├── ThrottledError        429: not now; `retry_after_s` says when
        ├── UnavailableError      5xx, or no connection could be made: nothing was done, or we cannot tell
        └── OutcomeUnknownError   the request went out and no answer came: read the truth back

Retryable, terminal and conflict are classes, never message texts.
"""

from __future__ import annotations


class RunaiError(Exception):
    """The root: what a caller of this package catches."""


class ConfigError(RunaiError):
    """A setting, file or flag that cannot be used; the text says which, its value, and what would be right."""


class MalformedError(RunaiError):
    """Input that is not what the protocol says; the text is short and safe to show to the sender."""


class RefusedError(RunaiError):
    """A new object that cannot be given what it lacks; the text says what is wrong, for its owner."""


class InvariantError(RunaiError):
    """Our own books do not add up."""


class DeviceError(RunaiError):
    """No single device to hold, or it is lost; the text says what is wrong and what would be right."""


class ReservationError(RunaiError):
    """A device could not be held for those who are to share it; the text says why, for their owner."""


class ApiError(RunaiError):
    """The API server refused. `status` is the HTTP status, 0 when there was no answer."""

    def __init__(self, message: str, *, status: int = 0, reason: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.reason = reason


class BadRequestError(ApiError): ...


class UnauthorizedError(ApiError): ...


class NotFoundError(ApiError): ...


class ConflictError(ApiError): ...


class GoneError(ApiError): ...


class ThrottledError(ApiError):
    def __init__(self, message: str, *, status: int = 429, reason: str = "", retry_after_s: float = 1.0) -> None:
        super().__init__(message, status=status, reason=reason)
        self.retry_after_s = retry_after_s


class UnavailableError(ApiError): ...


class OutcomeUnknownError(ApiError): ...
