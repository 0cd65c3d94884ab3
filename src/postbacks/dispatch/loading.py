"""From claimed rows to conversions: the event, the click, and the mapping as it is now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from postbacks.catalog import App, Destination
from postbacks.dispatch.delivering import Item
from postbacks.domain import ids
from postbacks.domain.consent import may_match, may_send
from postbacks.domain.model import Click, Conversion, Kind, Verdict
from postbacks.errors import SettingError
from postbacks.outbound.converting import conversion_of
from postbacks.platforms.registry import CLICK_ID_PLATFORM
from postbacks.store import clicks as click_store
from postbacks.store import events as event_store
from postbacks.store.database import Connection
from postbacks.store.outbox import Claimed
from postbacks.vault import Vault


async def load(
    connection: Connection, vault: Vault, app: App, destination: Destination, rows: Sequence[Claimed]
) -> tuple[list[Item], list[Item]]:
    """Items that can be sent, and items that already have a verdict because something they need is gone."""
    event_ids = [ids.event_of(row.id) for row in rows]
    events = await event_store.to_send(connection, app.name, event_ids)
    wanted = {row.click.bytes: row.click for row in rows}
    clicks = await click_store.to_send(connection, app.name, wanted.values())
    shares_ip = "ip" in getattr(destination.target.options, "share", ())
    require_consent = app.rules.require_consent
    ready: list[Item] = []
    done: list[Item] = []
    for row, event_id in zip(rows, event_ids, strict=True):
        if row.status == "accepted":
            # The platform has it. What became of it is asked for, whatever happened to mapping, consent or data since.
            ready.append(Item(row, _NOTHING))
            continue
        event = events.get(event_id.bytes)
        click, sealed = clicks.get(row.click.bytes, _NO_CLICK)
        if event is None or click is None:
            done.append(_gone(row, "event_gone" if event is None else "click_gone"))
            continue
        if shares_ip and sealed is not None:
            click = replace(click, ip=_address(vault, sealed))
        conversion = conversion_of(app, destination, event, click)
        if conversion is None:
            done.append(_gone(row, "unmapped"))
        elif not may_match(conversion.consent) or not may_send(conversion.consent, require_consent=require_consent):
            done.append(_gone(row, "consent"))
        else:
            ready.append(Item(row, conversion))
    return ready, done


_NO_CLICK: tuple[Click | None, str | None] = (None, None)
_NOTHING = Conversion(
    key="",
    event_id="",
    event_name="",
    mapping={},
    occurred_at=ids.created_at(UUID(int=0)),
    click=Click(UUID(int=0), next(iter(CLICK_ID_PLATFORM)), "", ids.created_at(UUID(int=0))),
)


def _address(vault: Vault, sealed: str) -> str | None:
    """The address that a click's visitor allowed to be shared; none where its key is gone: the conversion goes on."""
    try:
        return vault.open(sealed).decode()
    except SettingError:
        return None


def _gone(row: Claimed, code: str) -> Item:
    """The data was dropped, the mapping removed or consent withdrawn while the delivery waited."""
    return Item(row, _NOTHING, verdict=Verdict(Kind.SKIPPED, code=code))
