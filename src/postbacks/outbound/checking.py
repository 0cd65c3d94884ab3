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
from postbacks.platforms.base import CheckResult


async def check(
    destination: Destination, *, sender: Sender, tokens: Tokens, clock: Callable[[], datetime]
) -> CheckResult:
    """Never raises for what a platform answers; texts are masked."""
    if destination.broken:
        return CheckResult(False, "broken_configuration", destination.broken, "Put the destination again.")
    token = await tokens.token(destination)
    mask = Mask(destination.target.credentials, destination.target.options)
    if isinstance(token, Verdict):
        refused = failed_check(token)
        return CheckResult(False, refused.code, mask(refused.message) or "", refused.remedy)
    request = destination.adapter.check_request(destination.target, clock(), token)
    if request is None:
        return CheckResult(
            True, "not_checkable", f"{destination.platform} offers no request that proves anything and records nothing."
        )
    answer = await sender.send(
        request, seconds=destination.adapter.max_wait.total_seconds(), public_only=destination.adapter.public_only
    )
    result = destination.adapter.read_check(destination.target, answer)
    return CheckResult(result.ok, result.code, mask(result.message) or "", result.remedy)
