"""`postbacks apply`: the file and the database, against a running service."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from postbacks.admin.applying import apply_file
from postbacks.errors import FileError
from tests.api.game import Game

HOOK = {"name": "hook", "platform": "webhook", "options": {"url": "https://tool.example/?c={click_id}"}}


def meta(token: str = "${META_TOKEN}", event: str = "AppInstall") -> dict[str, Any]:
    return {
        "name": "meta",
        "platform": "meta",
        "credentials": {"dataset_id": "998877665544332", "access_token": token},
        "events": {"install": {"name": event}},
    }


async def apply(game: Game, *apps: dict[str, Any], dry_run: bool = False) -> list[str]:
    return await apply_file(game.runtime.admin, yaml.safe_dump({"apps": list(apps)}), dry_run=dry_run)


async def test_a_dry_run_prints_and_the_second_run_changes_nothing(game: Game, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"{game.app}-file"
    app = {"name": name, "attribution": {"click_window_days": 7}, "destinations": [meta(), HOOK]}
    monkeypatch.setenv("META_TOKEN", "EAABfirst")

    planned = await apply(game, app, dry_run=True)
    assert [line.rpartition(" ")[2] for line in planned] == ["created"] * 3
    assert (await game.admin.get(f"/v1/apps/{name}")).status_code == 404

    done = "\n".join(await apply(game, app))
    secret = re.search(r"secret key +(sk_\S+)", done)
    assert secret is not None
    assert (await game.client(secret[1]).get("/v1/deliveries")).status_code == 200
    assert all(line.endswith(" unchanged") for line in await apply(game, app))
    assert all(line.endswith(" unchanged") for line in await apply(game, app, dry_run=True))

    monkeypatch.setenv("META_TOKEN", "EAABsecond")
    app["destinations"] = [meta(event="Install"), HOOK]
    for dry_run in (True, False):
        changes = "\n".join(await apply(game, app, dry_run=dry_run))
        assert "credentials.access_token: *** → ***" in changes
        assert "events.install.name: 'AppInstall' → 'Install'" in changes
        assert "EAAB" not in changes
    assert all(line.endswith(" unchanged") for line in await apply(game, app))
    shown = (await game.admin.get(f"/v1/apps/{name}/destinations/meta")).json()
    assert (shown["credentials"]["access_token"], shown["events"]["install"]) == ("***", {"name": "Install"})


@pytest.mark.parametrize(
    ("destinations", "words"),
    [
        ([HOOK, HOOK], "destination 'hook' stands in the file 2 times"),
        ([HOOK, {**HOOK, "name": "a b"}], "'a b': the name must match"),
        ([HOOK, {**HOOK, "name": "w", "platform": "nope"}], "'w': platform"),
        ([HOOK, meta("***")], "credentials.access_token reads ***, and nothing is stored"),
        ([HOOK, meta("${NOT_SET_ANYWHERE}")], "NOT_SET_ANYWHERE"),
        ({}, None),
        (None, None),
    ],
)
async def test_what_is_wrong_is_named_and_nothing_of_the_file_is_applied(
    game: Game, destinations: Any, words: str | None
) -> None:
    name = f"{game.app}-wrong"
    app = {"name": name, "attribution": None, "destinations": destinations}
    if words is None:
        assert "created" in (await apply(game, app))[0]
        return
    with pytest.raises(FileError, match=re.escape(words)):
        await apply(game, app)
    assert (await game.admin.get(f"/v1/apps/{name}")).status_code == 404


async def test_an_app_stands_in_the_file_once(game: Game) -> None:
    with pytest.raises(FileError, match="2 times"):
        await apply(game, {"name": game.app}, {"name": game.app, "require_consent": True})
