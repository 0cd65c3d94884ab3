"""`postbacks doctor`: asks each platform whether the credentials work."""

from __future__ import annotations

from collections.abc import Callable

from postbacks.admin.service import Admin
from postbacks.errors import SettingError
from postbacks.outbound.checking import check


async def examine(
    service: Admin, app_name: str | None, destination_name: str | None, say: Callable[[str], None]
) -> bool:
    """Prints a line per destination, and for each failure cause and remedy. Returns whether all is well.

    Raises `SettingError` where nothing fits the names.
    """
    chosen = [
        destination
        for app in service.catalog.apps()
        for destination in app.destinations.values()
        if app_name in (None, app.name) and destination_name in (None, destination.name)
    ]
    if not chosen:
        raise SettingError("No destination fits. `postbacks apply` or the API creates them; see docs/platforms/.")
    well = True
    for destination in chosen:
        result = await check(destination, sender=service.sender, tokens=service.tokens, clock=service.clock)
        well = well and result.ok
        say(f"{'ok  ' if result.ok else 'FAIL'} {destination.app}/{destination.name} ({destination.platform})")
        if result.message:
            say(
                f"     {'note' if result.ok else 'cause'}: {f'[{result.code}] ' if result.code else ''}{result.message}"
            )
        if result.remedy and not result.ok:
            say(f"     remedy: {result.remedy}")
    return well
