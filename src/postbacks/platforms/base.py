"""The seam between the dispatcher and a platform.

An adapter is a plain object without state. It turns conversions into requests and answers into verdicts; it
never opens a connection, reads a clock or touches the database. Adding a platform means one module with one
subclass of `Adapter`, and one line in `registry.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import datetime, timedelta
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from postbacks.domain.frozen import frozen
from postbacks.domain.model import Conversion, Verdict
from postbacks.domain.planning import Timing


class ConfigModel(BaseModel):
    """Base of what an operator writes for a destination: unknown keys are refused, so that a typo is seen."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True, frozen=True, hide_input_in_errors=True)


class NamedEvent(ConfigModel):
    """The usual event mapping: the platform's name for the event."""

    name: str


Cred = TypeVar("Cred", bound=ConfigModel)
Opt = TypeVar("Opt", bound=ConfigModel)


@frozen
class Target(Generic[Cred, Opt]):
    """A destination as its adapter sees it. `repr` shows no credentials."""

    credentials: Cred = field(repr=False)
    options: Opt
    bases: Mapping[str, str]
    """Scheme and host by name of `Adapter.api_bases`, without a slash at the end."""


@frozen
class Request:
    """One HTTP request, complete. `headers` and a few URLs carry secrets: never log either unmasked."""

    method: str
    """`CONNECT` stands for "open the connection and send nothing"; it is answered with an empty 204."""
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)


@frozen
class Response:
    """What came back. Header names are lower case; `body` is cut at 128 KiB."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@frozen
class TransportFailure:
    """No usable answer. `sent` tells whether the platform may have seen the request."""

    code: str
    """`timeout`, `connect`, `reset`, `dns`, `tls`, `refused_address`."""
    message: str
    sent: bool


Answer = Response | TransportFailure


@frozen
class Prepared:
    """A request and which of the given conversions it carries."""

    request: Request
    positions: tuple[int, ...]
    """Indexes into the conversions handed to `build`, in the order in which the body lists them."""
    parts: tuple[str, ...]
    """For each position the conversion's own part of the body, as sent; it goes to the attempt log."""


@frozen
class Unsendable:
    """A conversion that must not be sent: `skipped` or `expired`, with a reason that an operator can filter by."""

    position: int
    verdict: Verdict


@frozen
class Built:
    prepared: Sequence[Prepared]
    unsendable: Sequence[Unsendable] = ()


@frozen
class Token:
    """An access token and how many seconds it lives."""

    value: str = field(repr=False)
    expires_in: float


@frozen
class CheckResult:
    """The answer of `doctor` for one destination."""

    ok: bool
    code: str = ""
    message: str = ""
    remedy: str = ""


class Adapter(ABC, Generic[Cred, Opt]):
    """What the rest of the service may ask of a platform."""

    name: ClassVar[str]
    click_id_types: ClassVar[tuple[str, ...]]
    """Click IDs that this platform understands, the preferred first (of clicks seen at the same moment)."""
    api_bases: ClassVar[Mapping[str, str]]
    """Setting name without prefix (`META_API_BASE`) → the real scheme and host."""
    max_batch: ClassVar[int]
    """Conversions in one request, at most."""
    max_claim: ClassVar[int] = 2_000
    """Conversions that a dispatcher takes at once, at most. They are written down together when the last request is
    answered; after a crash all of them are sent again."""
    any_click: ClassVar[bool] = False
    """Any matched click suffices, whatever its platform (webhook)."""
    counts_repeats: ClassVar[bool] = False
    """The platform may count a repeat twice although it carries the same key: after an answer that got lost, the
    dispatcher tries again once and then leaves the decision to an operator."""
    public_only: ClassVar[bool] = False
    """Requests go to an address that the operator chose freely: only public networks may be reached."""

    secret_options: ClassVar[tuple[str, ...]] = ()
    """Options that may hold secrets (a webhook's headers); they are stored sealed, like credentials."""

    credentials_model: type[Cred]
    options_model: type[Opt]
    mapping_model: ClassVar[type[ConfigModel]] = NamedEvent
    presets: ClassVar[Mapping[str, Mapping[str, Any]]]
    """The game's event name → mapping, used where a destination has no `events` of its own."""
    max_wait: ClassVar[timedelta] = timedelta(seconds=30)
    """How long one request may take."""

    def validate(self, credentials: Cred, options: Opt, events: Mapping[str, Mapping[str, Any]]) -> None:
        """Rules that reach over several fields. Raises `ValueError` with a message for the operator."""

    def wildcard(self, event_name: str) -> Mapping[str, Any] | None:
        """The mapping that `{"*": {}}` gives an event; `None` where the platform has no custom events."""
        return {"name": event_name}

    @abstractmethod
    def timing(self, target: Target[Cred, Opt]) -> Timing:
        """Between what times the platform takes a conversion."""

    def token_request(self, target: Target[Cred, Opt], now: datetime) -> Request | None:
        """The request that fetches an access token, where the platform needs one."""
        return None

    def read_token(self, answer: Answer) -> Token | Verdict:
        """The token, or why there is none (HOLD for a dead grant, RETRY for a passing fault)."""
        raise LookupError(f"{self.name} has no token endpoint")

    @abstractmethod
    def build(
        self, target: Target[Cred, Opt], conversions: Sequence[Conversion], now: datetime, token: str | None
    ) -> Built:
        """Requests for the conversions, each of which stands in exactly one request or in `unsendable`."""

    @abstractmethod
    def read(self, target: Target[Cred, Opt], prepared: Prepared, answer: Answer, now: datetime) -> Sequence[Verdict]:
        """One verdict per entry of `prepared.positions`, in that order."""

    def confirm_request(self, target: Target[Cred, Opt], reference: str, token: str | None) -> Request:
        """Asks for the outcome of what was ACCEPTED under `reference`."""
        raise LookupError(f"{self.name} confirms at once")

    def read_confirmation(
        self, target: Target[Cred, Opt], answer: Answer, indexes: Sequence[int], now: datetime
    ) -> Sequence[Verdict]:
        """One verdict per index (its place in the accepted request); ACCEPTED stands for "ask again later"."""
        raise LookupError(f"{self.name} confirms at once")

    @abstractmethod
    def check_request(self, target: Target[Cred, Opt], now: datetime, token: str | None) -> Request | None:
        """A request that proves the credentials and records nothing; `None` where there is none."""

    @abstractmethod
    def read_check(self, target: Target[Cred, Opt], answer: Answer) -> CheckResult:
        """What the answer to `check_request` says, with a remedy for each failure."""

    def check_request_for(
        self, target: Target[Cred, Opt], mappings: Sequence[Mapping[str, Any]], now: datetime, token: str | None
    ) -> Request | None:
        """`check_request`, for a platform that can be asked about the mappings of the destination's events as well."""
        return self.check_request(target, now, token)

    def read_check_for(
        self, target: Target[Cred, Opt], mappings: Sequence[Mapping[str, Any]], answer: Answer
    ) -> CheckResult:
        """What the answer to `check_request_for` says."""
        return self.read_check(target, answer)
