"""`postbacks apply`: apps, destinations and event mappings as a file. Applying it twice changes nothing."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import yaml
from pydantic import ValidationError

from postbacks.admin.apps import add_keys, app_settings
from postbacks.admin.destinations import store_destination
from postbacks.admin.schemas import MASK, NAME_PATTERN, AppIn, is_name, shown_options, validate_destination
from postbacks.admin.service import Admin
from postbacks.errors import FieldError, FileError, Invalid
from postbacks.ingest.fields import field_errors
from postbacks.outbound.masking import is_public
from postbacks.sealing import open_destination
from postbacks.store import configuration
from postbacks.store.configuration import AppRow, DestinationRow
from postbacks.store.database import Connection

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def read_file(text: str, environment: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """The apps of a file, with `${NAME}` replaced from the environment. Raises `FileError`."""
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        where = f" at line {place.line + 1}, column {place.column + 1}" if place else ""
        raise FileError(f"The file is not valid YAML{where}.") from None
    if not isinstance(content, dict) or not isinstance(content.get("apps"), list):
        raise FileError("The file must have a list `apps` at its top.")
    missing: set[str] = set()
    apps = _expand(content["apps"], os.environ if environment is None else environment, missing)
    if missing:
        raise FileError(f"The file needs environment variables that are not set: {', '.join(sorted(missing))}.")
    for index, app in enumerate(apps):
        if not isinstance(app, dict):
            raise FileError(f"apps[{index}] must be a mapping.")
    _no_repeat("app", [app.get("name") for app in apps])
    return list(apps)


def _no_repeat(what: str, names: Iterable[Any]) -> None:
    """Of two entries under one name the later would undo the earlier, each time anew."""
    for name, count in Counter(map(str, names)).items():
        if count > 1:
            raise FileError(f"{what} {name!r} stands in the file {count} times.")


def _expand(value: Any, environment: Mapping[str, str], missing: set[str]) -> Any:
    if isinstance(value, dict):
        return {key: _expand(inner, environment, missing) for key, inner in value.items()}
    if isinstance(value, list):
        return [_expand(inner, environment, missing) for inner in value]
    if not isinstance(value, str):
        return value

    def replaced(found: re.Match[str]) -> str:
        name = found.group(1)
        if name not in environment:
            missing.add(name)
        return environment.get(name, "")

    return _VARIABLE.sub(replaced, value)


async def apply_file(service: Admin, text: str, *, dry_run: bool) -> list[str]:
    """Applies a file, all of it or nothing; returns what was (or would be) done, line by line. Raises `FileError`."""
    lines: list[str] = []
    async with service.database.transaction() as connection:
        for app in read_file(text):
            lines += await _apply_app(service, connection, app, dry_run=dry_run)
        if not dry_run:
            await configuration.notify_changed(connection)
    if not dry_run:
        await service.changed()
        service.wake()
    return lines or ["Nothing to do: the file has no apps."]


async def _apply_app(service: Admin, connection: Connection, body: dict[str, Any], *, dry_run: bool) -> list[str]:
    destinations = body.get("destinations") or []
    try:
        given = AppIn.model_validate(
            {key: value for key, value in body.items() if key != "destinations" and value is not None}
        )
    except ValidationError as error:
        raise _file_error(f"app {body.get('name')!r}", field_errors(error)) from None
    if not isinstance(destinations, list) or not all(isinstance(one, dict) and "name" in one for one in destinations):
        raise FileError(f"app {given.name!r}: `destinations` must be a list of mappings, each with a `name`.")
    _no_repeat(f"app {given.name!r}: destination", [one["name"] for one in destinations])
    for one in destinations:
        if not is_name(str(one["name"])):
            raise FileError(
                f"app {given.name!r}: destination {str(one['name'])!r}: the name must match {NAME_PATTERN}."
            )
    lines = await _apply_settings(service, connection, given, dry_run=dry_run)
    there = {row.name: row for row in await configuration.destinations(connection, given.name)}
    for destination in destinations:
        name = str(destination["name"])
        wanted = {key: value for key, value in destination.items() if key != "name"}
        lines.append(await _apply_destination(service, connection, given.name, name, wanted, there.get(name), dry_run))
    named = {str(one["name"]) for one in destinations}
    lines += [
        f"app {given.name}: destination {name} is not in the file and stays"
        for name in sorted(there)
        if name not in named
    ]
    return lines


async def _apply_settings(service: Admin, connection: Connection, given: AppIn, *, dry_run: bool) -> list[str]:
    settings = app_settings(given)
    row = await configuration.app(connection, given.name)
    if row is None:
        if dry_run:
            return [f"app {given.name}: would be created"]
        await configuration.insert_app(connection, given.name, settings, service.vault.seal(os.urandom(32)))
        pair = await add_keys(connection, given.name)
        return [
            f"app {given.name}: created",
            f"    publishable key {pair.publishable_key}",
            f"    secret key      {pair.secret_key}  (shown once)",
        ]
    changes = list(_differences(_stored_settings(row), settings))
    if not changes:
        return [f"app {given.name}: unchanged"]
    if not dry_run:
        await configuration.update_app(connection, given.name, settings)
    return [f"app {given.name}: {'would change' if dry_run else 'changed'}", *(f"    {change}" for change in changes)]


def _stored_settings(row: AppRow) -> dict[str, Any]:
    return app_settings(AppIn.model_validate({"name": row.app, **row.settings}))


async def _apply_destination(
    service: Admin,
    connection: Connection,
    app: str,
    name: str,
    wanted: dict[str, Any],
    before: DestinationRow | None,
    dry_run: bool,
) -> str:
    known = open_destination(service.vault, before) if before else ({}, {})
    valid = validate_destination(wanted, known_credentials=known[0], known_options=known[1])
    if isinstance(valid, list):
        raise _file_error(f"app {app!r}, destination {name!r}", valid)
    after = valid.model_dump()
    if before is not None:
        current = {
            "platform": before.platform,
            "enabled": before.enabled,
            "credentials": known[0],
            "options": known[1],
            "events": before.events,
        }
        changes = list(_differences(current, after))
        if not changes:
            return f"app {app}: destination {name} unchanged"
    else:
        changes = []
    if not dry_run:
        try:
            await store_destination(service, connection, app, name, wanted)
        except Invalid as error:
            raise _file_error(f"app {app!r}, destination {name!r}", list(error.errors)) from None
    verb = (
        ("would be created" if dry_run else "created") if before is None else ("would change" if dry_run else "changed")
    )
    return "\n    ".join([f"app {app}: destination {name} {verb}", *changes])


def _differences(before: Any, after: Any, path: str = "") -> Iterable[str]:
    """`options.share: ["user_agent"] → []`, secrets as `***`."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted({*before, *after}):
            yield from _differences(before.get(key), after.get(key), f"{path}.{key}" if path else str(key))
    elif before != after:
        yield f"{path}: {_readable(path, before)} → {_readable(path, after)}"


def _readable(path: str, value: Any) -> str:
    if (path.startswith("credentials.") and not is_public(path)) or path.startswith("options.headers."):
        return MASK
    name = path.removeprefix("options.")
    return repr(shown_options({name: value})[name]) if name in ("url", "body", "headers") else repr(value)


def _file_error(where: str, errors: list[FieldError]) -> FileError:
    return FileError(f"{where}: " + "; ".join(f"{error.field} {error.message}" for error in errors))
