"""Asks a platform whether the credentials work, without recording a conversion (`doctor`, probes)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from postbacks.catalog import Destination
from postbacks.domain.model import Verdict
from postbacks.outbound.http import Sender
from postbacks.outbound.masking import Mask
from postbacks.outbound.tokens import Tokens
from postbacks.platforms.answer_table import failed_check
from postbacks.platforms.base import Answer, CheckResult, Response


async def check(
    destination: Destination, *, sender: Sender, tokens: Tokens, clock: Callable[[], datetime]
) -> CheckResult:
    """Never raises for what a platform answers; texts are masked."""
    if destination.broken:
        return CheckResult(False, "broken_configuration", destination.broken, "Put the destination again.")
    token = await tokens.token(destination)
    answer = await _ask(destination, token, sender, clock)
    if isinstance(token, str) and isinstance(answer, Response) and answer.status == 401:
        # The token may have been revoked since it was fetched; whether the credentials work, a fresh one tells.
        token = await tokens.token(destination, refused=token)
        answer = await _ask(destination, token, sender, clock)
    mask = Mask(destination.target.credentials, destination.target.options)
    if isinstance(token, Verdict):
        refused = failed_check(token)
        return CheckResult(False, refused.code, mask(refused.message) or "", refused.remedy)
    if answer is None:
        return CheckResult(
            True, "not_checkable", f"{destination.platform} offers no request that proves anything and records nothing."
        )
    result = destination.adapter.read_check_for(destination.target, list(destination.events.values()), answer)
    return CheckResult(result.ok, result.code, mask(result.message) or "", result.remedy)


async def _ask(
    destination: Destination, token: str | Verdict | None, sender: Sender, clock: Callable[[], datetime]
) -> Answer | None:
    """The answer to the check; `None` where there is no token to ask with, or nothing to ask."""
    if isinstance(token, Verdict):
        return None
    adapter, mappings = destination.adapter, list(destination.events.values())
    request = adapter.check_request_for(destination.target, mappings, clock(), token)
    if request is None:
        return None
    return await sender.send(request, seconds=adapter.max_wait.total_seconds(), public_only=adapter.public_only)
