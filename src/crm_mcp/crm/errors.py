"""What can go wrong with a call to the CRM; every text is written for the model and holds no secret."""

from __future__ import annotations


class CrmError(Exception):
    """A call to the CRM that did not do what was asked."""


class ReadOnlyError(CrmError):
    """The client is read-only and the call would have written; nothing was sent."""


class RefusedError(CrmError):
    """We did not send it; the text says why, and what was not done."""


class DeclinedError(RefusedError):
    """A person was asked, and did not approve it."""


class RejectedError(CrmError):
    """The CRM answered 4xx: the same call will not succeed, it must change."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class InvalidInputError(RejectedError):
    """400 or 422, or an id that is no UUID (then nothing was sent and `status` is None)."""


class AuthenticationError(RejectedError):
    """401: the key is unknown or revoked."""


class PermissionDeniedError(RejectedError):
    """403: the key lacks the scope, or belongs to another entity."""


class NotFoundError(RejectedError):
    """404: no such record (or none that this key can see)."""


class ConflictError(RejectedError):
    """409: the record's state does not allow it."""


class RateLimitedError(RejectedError):
    """429: nothing was done; `retry_after_seconds` is set when the CRM told it."""

    def __init__(self, message: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(message, status=429)
        self.retry_after_seconds = retry_after_seconds


class UnavailableError(CrmError):
    """No connection, or no usable answer to a read: nothing was changed, try later."""

    def __init__(
        self, message: str, *, status: int | None = None, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_seconds = retry_after_seconds


class OutcomeUnknownError(CrmError):
    """A write went out and no answer came back: it may have happened.

    `may_be_late`: the CRM may be at it still, so that it may yet happen.
    """

    def __init__(self, message: str, *, may_be_late: bool = True) -> None:
        super().__init__(message)
        self.may_be_late = may_be_late


class UnexpectedResponseError(CrmError):
    """The CRM answered, but not what the contract allows."""


class UnresolvedReferenceError(CrmError):
    """What was said names no record, or more than one; the text lists what could be said instead."""
