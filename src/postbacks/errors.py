"""Every error that the service raises on purpose.

PostbacksError
├── SettingError        a setting is wrong: the start stops with one line that says what to do
├── FileError           a configuration file is wrong (`postbacks apply`)
├── Problem             answered over HTTP as application/problem+json
│   ├── Unauthorized    401, no or a wrong token
│   ├── Forbidden       403, a good token without the right
│   ├── NotFound        404
│   ├── Conflict        409
│   ├── TooLarge        413
│   ├── Invalid         422, with one entry per field
│   ├── TooManyRequests 429, with Retry-After
│   └── Unavailable     503, with Retry-After
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


class PostbacksError(Exception):
    """Base of all."""


class SettingError(PostbacksError):
    """A bad setting. The message is one line: which one, what is wrong, what to do."""


class FileError(PostbacksError):
    """A configuration file that cannot be applied. The message names the place in the file."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing that is wrong with the input. `field` is a path such as `events.3.value`."""

    field: str
    message: str

    def as_json(self) -> dict[str, str]:
        return {"field": self.field, "message": self.message}


class Problem(PostbacksError):
    """An RFC 9457 problem document. `detail` is for a person and never repeats a secret."""

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"
    slug: ClassVar[str] = "internal-error"

    def __init__(
        self, detail: str, *, errors: Sequence[FieldError] = (), headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = headers or {}

    def document(self) -> dict[str, Any]:
        """The body: `type`, `title`, `status`, `detail`, and `errors` where fields are named."""
        body: dict[str, Any] = {
            "type": f"urn:postbacks:problem:{self.slug}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }
        if self.errors:
            body["errors"] = [error.as_json() for error in self.errors]
        return body


class BadRequest(Problem):
    """The request is no JSON, or not in a shape that can be validated field by field."""

    status = 400
    title = "Bad request"
    slug = "bad-request"


class Unauthorized(Problem):
    """No token, or one that is not known."""

    status = 401
    title = "Unauthorized"
    slug = "unauthorized"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": "Bearer"})


class Forbidden(Problem):
    """A good token, but not for this."""

    status = 403
    title = "Forbidden"
    slug = "forbidden"


class NotFound(Problem):
    """It does not exist, or it belongs to another app."""

    status = 404
    title = "Not found"
    slug = "not-found"


class Conflict(Problem):
    """It contradicts what is already there."""

    status = 409
    title = "Conflict"
    slug = "conflict"


class TooLarge(Problem):
    """The body is over the limit; it was not read to its end."""

    status = 413
    title = "Content too large"
    slug = "content-too-large"


class Invalid(Problem):
    """Validation failed; `errors` names each field."""

    status = 422
    title = "Invalid input"
    slug = "invalid-input"


class TooManyRequests(Problem):
    """A rate limit of ours."""

    status = 429
    title = "Too many requests"
    slug = "too-many-requests"

    def __init__(self, detail: str, *, retry_after: int) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after)})


class Unavailable(Problem):
    """The database cannot be reached; nothing was stored."""

    status = 503
    title = "Service unavailable"
    slug = "service-unavailable"

    def __init__(self, detail: str, *, retry_after: int = 2) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after)})
