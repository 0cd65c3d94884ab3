"""Webhooks: one HTTP request per conversion to an address of the operator's choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

from standardwebhooks import Webhook as Signer

from postbacks import __version__
from postbacks.domain.model import Conversion, Kind, Verdict
from postbacks.domain.planning import Timing
from postbacks.platforms.answer_table import Row, failed_check, pick, settled, unknown_answer
from postbacks.platforms.base import (
    Adapter,
    Answer,
    Built,
    CheckResult,
    Prepared,
    Request,
    Response,
    Target,
    TransportFailure,
    Unsendable,
)
from postbacks.platforms.reading import retry_after, transport_verdict
from postbacks.platforms.sharing import REFUSED_BY_PLAYER, refused
from postbacks.platforms.webhook_config import (
    Compiled,
    WebhookCredentials,
    WebhookEvent,
    WebhookOptions,
    compiled,
    has_dot_segment,
    signing_key,
)
from postbacks.platforms.webhook_template import PLATFORM_OF, macro_values

NO_LIMIT: Final = timedelta(days=365)
"""An endpoint of one's own refuses nothing for its age; ingest takes events of the last 90 days."""

_AUTH = "Correct the endpoint's key in the destination's options (url or headers); the held deliveries then go out."
_GONE = "The endpoint says that it is gone for good. Give the destination a new url, then resume it."

ANSWERS: Final[tuple[Row, ...]] = (
    Row(
        tuple(range(300, 400)),
        Kind.REFUSED,
        "The endpoint redirects, and redirects are not followed.",
        "Put the final address into options.url, then retry the delivery.",
    ),
    Row((401, 403), Kind.HOLD, "The endpoint refuses our credentials.", _AUTH),
    Row(
        (404,),
        Kind.RETRY,
        "The endpoint was not found.",
        "Compare options.url with the endpoint's address. Retries go on for a while, in case it is being deployed.",
    ),
    Row((408,), Kind.RETRY, "The endpoint waited too long for the request."),
    Row((410,), Kind.HOLD, "The endpoint is gone.", _GONE),
    Row((425,), Kind.RETRY, "The endpoint wants the request later."),
    Row((429,), Kind.RETRY, "The endpoint asked for fewer requests.", throttled=True),
    Row(
        tuple(range(400, 500)),
        Kind.REFUSED,
        "The endpoint refused the request.",
        "Read the endpoint's answer in the attempt log, correct body or headers, then retry the delivery.",
    ),
    Row(tuple(range(500, 600)), Kind.RETRY, "The endpoint has a fault of its own."),
)
"""Status → verdict; 2xx is delivered, whatever the body says.

404 is tried again within bounds and does not hold the destination: a receiver being deployed answers so for a
moment, and some answer so for a single click that they do not know. 410 is meant for good. A redirect is refused,
not held, because trackers also redirect single clicks.
"""

_REFUSED_ADDRESS: Final = Verdict(
    Kind.HOLD,
    code="refused_address",
    message="The url's host has an address that is not public; webhooks may reach public addresses only.",
    remedy="Where it is meant to be reached, add its network to POSTBACKS_WEBHOOK_ALLOW_NETWORKS (CIDR), restart the "
    "dispatchers, and resume the destination.",
)


UNREACHABLE: Final[Mapping[str, str]] = {
    "dns": "Compare the host in options.url with the endpoint's address, and check this machine's DNS.",
    "connect": "Check that the endpoint runs, its port in options.url, and the firewalls between here and there.",
    "timeout": "Check that the endpoint runs, its port in options.url, and the firewalls between here and there.",
    "tls": "The endpoint needs a certificate for this host from an authority that this machine trusts, not expired.",
}
"""Why `doctor` could not reach an endpoint → what to do."""


class Webhook(Adapter[WebhookCredentials, WebhookOptions]):
    """Calls a URL for each conversion, whatever the platform of its click.

    URL, header values and body are templates; the macros are `{click_id}`, `{click_id_type}`, `{ad_platform}`,
    `{event_name}`, `{game_event_name}`, `{event_id}`, `{idempotency_key}`, `{value}`, `{currency}`,
    `{occurred_at}`, `{occurred_at_unix}`, `{clicked_at}` and `{clicked_at_unix}` (`webhook_template.MACROS` says
    what each becomes, its docstring how it is escaped). The header `webhook-id` carries the idempotency key; with a
    signing secret `webhook-timestamp` and `webhook-signature` join it, as Standard Webhooks defines them.
    """

    name = "webhook"
    click_id_types = tuple(PLATFORM_OF)
    api_bases: ClassVar[Mapping[str, str]] = {}
    max_batch = 1
    max_claim = 50
    any_click = True
    public_only = True
    secret_options = ("url", "headers", "body")
    credentials_model = WebhookCredentials
    options_model = WebhookOptions
    mapping_model = WebhookEvent
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"*": {}}

    def timing(self, target: Target[WebhookCredentials, WebhookOptions]) -> Timing:
        return Timing(age=NO_LIMIT)

    def build(
        self,
        target: Target[WebhookCredentials, WebhookOptions],
        conversions: Sequence[Conversion],
        now: datetime,
        token: str | None,
    ) -> Built:
        templates = compiled(target.options)
        secret = target.credentials.signing_secret
        signer = Signer(signing_key(secret)) if secret else None
        prepared: list[Prepared] = []
        unsendable: list[Unsendable] = []
        for position, conversion in enumerate(conversions):
            if refused(conversion):
                unsendable.append(Unsendable(position, REFUSED_BY_PLAYER))
                continue
            request = _request(target.options, templates, signer, conversion, now)
            if has_dot_segment(request.url):
                unsendable.append(Unsendable(position, _UNSAFE_PATH))
                continue
            prepared.append(Prepared(request, positions=(position,), parts=(request.body.decode(),)))
        return Built(tuple(prepared), tuple(unsendable))

    def read(
        self,
        target: Target[WebhookCredentials, WebhookOptions],
        prepared: Prepared,
        answer: Answer,
        now: datetime,
    ) -> Sequence[Verdict]:
        return (_read(answer, now),)

    def check_request(
        self, target: Target[WebhookCredentials, WebhookOptions], now: datetime, token: str | None
    ) -> Request:
        """A connection alone: whatever were sent over it, the endpoint might take it for a conversion."""
        url = urlsplit(target.options.url)
        return Request("CONNECT", f"{url.scheme}://{url.netloc}/")

    def read_check(self, target: Target[WebhookCredentials, WebhookOptions], answer: Answer) -> CheckResult:
        """Name, address, connection and TLS; whether the endpoint takes our calls, only an event can show."""
        if isinstance(answer, Response):
            return CheckResult(
                ok=True,
                code="reachable",
                message="The endpoint can be reached; nothing was sent. Whether it takes our calls, an event shows.",
            )
        if answer.code == _REFUSED_ADDRESS.code:
            return failed_check(_REFUSED_ADDRESS)
        remedy = UNREACHABLE.get(answer.code, UNREACHABLE["connect"])
        return CheckResult(ok=False, code=answer.code, message=answer.message, remedy=remedy)


_UNSAFE_PATH: Final = Verdict(
    Kind.SKIPPED,
    code="unsafe_path",
    message="A macro in the url's path became . or .., which would change the address.",
    remedy="Move the macro from the path into the query.",
)


def _request(
    options: WebhookOptions, templates: Compiled, signer: Signer | None, conversion: Conversion, now: datetime
) -> Request:
    values = macro_values(conversion)
    body = templates.body.render(values) if templates.body is not None else ""
    headers = {"User-Agent": f"Postbacks/{__version__}", "webhook-id": conversion.key}
    if any(name.lower() == "user-agent" for name in templates.headers):
        del headers["User-Agent"]
    headers |= {name: template.render(values).strip() for name, template in templates.headers.items()}
    if signer is not None:
        headers["webhook-timestamp"] = str(int(now.timestamp()))
        headers["webhook-signature"] = signer.sign(conversion.key, now, body)
    return Request(options.method, templates.url.render(values), headers, body.encode())


def _read(answer: Answer, now: datetime) -> Verdict:
    if isinstance(answer, TransportFailure):
        return _REFUSED_ADDRESS if answer.code == _REFUSED_ADDRESS.code else transport_verdict(answer)
    if 200 <= answer.status < 300:
        return Verdict(Kind.DELIVERED, code=f"http_{answer.status}")
    row = pick(ANSWERS, answer.status, "")
    return _settled(answer, row, now) if row is not None else unknown_answer(answer)


def _settled(response: Response, row: Row, now: datetime) -> Verdict:
    wait = retry_after(response, now) if row.kind is Kind.RETRY else None
    message = f"{row.meaning} ({response.status})"
    verdict = settled(row, code=f"http_{response.status}", message=message, batch=1, retry_after=wait)
    # Who says with a 503 when to come back means all of us, as with a 429.
    return replace(verdict, throttled=True) if response.status == 503 and wait else verdict
