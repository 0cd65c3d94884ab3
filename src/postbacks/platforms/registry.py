"""The platforms there are. A new one is one module and one line here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from postbacks.platforms.base import Adapter
from postbacks.platforms.google import Google
from postbacks.platforms.meta import Meta
from postbacks.platforms.reddit import Reddit
from postbacks.platforms.tiktok import TikTok
from postbacks.platforms.webhook import Webhook
from postbacks.platforms.x import X

ADAPTERS: Mapping[str, Adapter[Any, Any]] = {
    adapter.name: adapter for adapter in (Meta(), Google(), TikTok(), Reddit(), X(), Webhook())
}

CLICK_ID_PLATFORM: Mapping[str, str] = {
    click_id_type: adapter.name
    for adapter in ADAPTERS.values()
    if not adapter.any_click
    for click_id_type in adapter.click_id_types
}
"""Click ID parameter → the platform that reads it. Also the list of parameters that a landing page URL is read for."""
