"""What an operator writes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from postbacks.errors import FieldError
from postbacks.ingest.fields import field_errors
from postbacks.outbound.masking import PUBLIC_HEADERS, option_secrets
from postbacks.platforms.base import Adapter
from postbacks.platforms.registry import ADAPTERS

NAME_PATTERN = "[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
"""Of apps and destinations: they stand in paths."""
Name = Annotated[str, StringConstraints(pattern=f"^{NAME_PATTERN}$")]
EventKey = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9_.:-]{1,64}|\*)$")]

MASK = "***"
"""Stands for a secret in every answer; in a request it stands for "as it was"."""


def is_name(name: str) -> bool:
    """Whether an app or a destination may be called so."""
    return re.fullmatch(NAME_PATTERN, name) is not None


class Strict(BaseModel):
    """Unknown keys are refused: a typo in a setting must be seen."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class AttributionIn(Strict):
    click_window_days: float = Field(30, gt=0, le=90)
    ip_window_hours: float = Field(24, ge=0, le=720)
    late_click_hours: float = Field(24, ge=0, le=168)
    install_inheritance_days: float = Field(30, ge=0, le=180)
    ip_shared_threshold: int = Field(5, ge=1, le=1000)
    send_to: Literal["every_matched_platform", "last_click"] = "every_matched_platform"


class AppIn(Strict):
    name: Name
    attribution: AttributionIn = AttributionIn()
    require_consent: bool = False


class AppPatch(Strict):
    attribution: dict[str, Any] | None = None
    require_consent: bool | None = None


class DestinationIn(Strict):
    platform: Literal["meta", "google", "tiktok", "reddit", "x", "webhook"]
    enabled: bool = True
    credentials: dict[str, Any] = Field(default_factory=dict)
    options: dict[str, Any] = Field(default_factory=dict)
    events: dict[EventKey, dict[str, Any]] | None = None


class ValidDestination(BaseModel):
    """A destination that its adapter understands, in the adapter's own form."""

    platform: str
    enabled: bool
    credentials: dict[str, Any]
    options: dict[str, Any]
    events: dict[str, dict[str, Any]] | None


def validate_destination(
    body: Any,
    *,
    known_credentials: Mapping[str, Any] | None = None,
    known_options: Mapping[str, Any] | None = None,
) -> ValidDestination | list[FieldError]:
    """Checks a destination as far as that is possible without asking the platform.

    `known_credentials`, `known_options`: what is stored; it replaces values that read `***`.
    """
    try:
        given = DestinationIn.model_validate(body)
    except ValidationError as error:
        return field_errors(error)
    adapter = ADAPTERS[given.platform]
    errors: list[FieldError] = []
    known_credentials = known_credentials or {}
    credentials = {
        name: known_credentials.get(name) if value == MASK else value for name, value in given.credentials.items()
    }
    unknown = [name for name, value in given.credentials.items() if value == MASK and name not in known_credentials]
    if unknown:
        return [
            FieldError(f"credentials.{name}", f"reads {MASK}, and nothing is stored that could stay")
            for name in unknown
        ]
    credentials_model = _checked(adapter.credentials_model, credentials, "credentials.", errors)
    options = _unmasked(given.options, known_options or {})
    options_model = _checked(adapter.options_model, options, "options.", errors)
    events = _events(adapter, given.events, errors)
    if errors or credentials_model is None or options_model is None:
        return errors
    try:
        adapter.validate(credentials_model, options_model, events if events is not None else adapter.presets)
    except ValueError as error:
        return [FieldError("destination", str(error))]
    return ValidDestination(
        platform=given.platform,
        enabled=given.enabled,
        credentials=_plain(credentials_model),
        options=options_model.model_dump(mode="json", exclude_unset=True),
        events=events,
    )


def shown_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as they may be read: a webhook's headers, and secrets in its URL and body, are credentials."""
    shown = dict(options)
    hidden = sorted(set(option_secrets(options)), key=len, reverse=True)
    if isinstance(shown.get("headers"), Mapping):
        shown["headers"] = {
            name: value if name.lower() in PUBLIC_HEADERS else MASK for name, value in shown["headers"].items()
        }
    for name in ("url", "body"):
        if isinstance(shown.get(name), str):
            for secret in hidden:
                shown[name] = shown[name].replace(secret, MASK)
    return shown


def _unmasked(given: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """What was read and is put back unchanged stays as it was."""
    options, shown = dict(given), shown_options(known)
    for name in ("url", "body"):
        if name in options and name in known and options[name] == shown[name]:
            options[name] = known[name]
    if isinstance(options.get("headers"), Mapping):
        before = known.get("headers") or {}
        options["headers"] = {
            name: before.get(name, value) if value == MASK else value for name, value in options["headers"].items()
        }
    return options


def _checked(model: type[BaseModel], values: Any, prefix: str, errors: list[FieldError]) -> BaseModel | None:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        errors.extend(field_errors(error, prefix))
        return None


def _plain(model: BaseModel) -> dict[str, Any]:
    """The values as they are, also where the model hides them."""
    return model.model_dump(mode="json", exclude_none=True, context={"reveal": True})


def _events(
    adapter: Adapter[Any, Any], events: Mapping[str, Mapping[str, Any]] | None, errors: list[FieldError]
) -> dict[str, dict[str, Any]] | None:
    if events is None:
        return None
    checked: dict[str, dict[str, Any]] = {}
    for name, mapping in events.items():
        if not mapping:
            # `{}` means "under its own name", for one event or for all (`*`).
            if name != "*" and adapter.wildcard(name) is None:
                errors.append(FieldError(f"events.{name}", f"{adapter.name} needs a mapping for each event"))
            elif name == "*" and adapter.wildcard("custom_event") is None:
                errors.append(FieldError("events.*", f"{adapter.name} has no custom events: name each event"))
            else:
                checked[name] = {}
            continue
        model = _checked(adapter.mapping_model, mapping, f"events.{name}.", errors)
        if model is not None:
            checked[name] = model.model_dump(mode="json", exclude_none=True)
    return checked
