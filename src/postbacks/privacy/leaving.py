"""What of a player left with a conversion: for the privacy ledger."""

from __future__ import annotations

from collections.abc import Collection

from postbacks.domain.model import Conversion
from postbacks.platforms.sharing import Share, shared_ip, shared_user_agent


def shared_names(conversion: Conversion, share: Collection[Share]) -> str | None:
    """What leaves beside the click ID, comma-separated; `None` for nothing."""
    found: dict[Share, str | None] = {
        "user_agent": shared_user_agent(conversion, share),
        "ip": shared_ip(conversion, share),
    }
    return ",".join(name for name, value in found.items() if value is not None) or None
