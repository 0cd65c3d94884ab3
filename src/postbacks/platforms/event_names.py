"""Event names of platforms that take any name, and so never complain of a misspelt one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any


def refuse_miscased(events: Mapping[str, Mapping[str, Any]], standard: Collection[str], platform: str) -> None:
    """Raises `ValueError` where a mapped name is a standard event but for its case.

    The platform would silently count a custom event, for which no campaign optimises (sheet meta, 2.2).
    """
    by_folded = {name.casefold(): name for name in standard}
    for event_name, mapping in events.items():
        name = str(mapping.get("name", ""))
        meant = by_folded.get(name.casefold(), name)
        if meant != name:
            raise ValueError(
                f"events.{event_name}: {platform} would take {name!r} for a custom event; "
                f"its standard event is {meant!r}"
            )
