"""The guides of Reddit, X and webhooks: their YAML is taken, their codes are ours, every setting is explained."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from postbacks.admin.schemas import ValidDestination, validate_destination
from postbacks.platforms import reddit, reddit_answers, webhook, x, x_answers
from postbacks.platforms.base import Adapter
from postbacks.platforms.webhook_template import MACROS
from postbacks.sandbox.base import Simulator
from postbacks.sandbox.reddit import RedditSimulator
from postbacks.sandbox.x import XSimulator

GUIDES = Path(__file__).parents[2] / "docs/platforms"
ADAPTERS: dict[str, Adapter[Any, Any]] = {"reddit": reddit.Reddit(), "x": x.X(), "webhook": webhook.Webhook()}
SIMULATORS: dict[str, type[Simulator]] = {"reddit": RedditSimulator, "x": XSimulator}
STATES = ("held", "failed", "retrying", "skipped", "expired")
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

OURS = {"timeout", "reset", "dns", "tls", "connect", "refused_address", "too_old", "outcome_unknown", "unsafe_path"}


def guide(name: str) -> str:
    return (GUIDES / f"{name}.md").read_text()


def examples(name: str) -> list[Any]:
    """The destinations of the guide's YAML; a block that shows credentials alone completes the first destination."""
    found: list[Any] = []
    for block in re.findall(r"```yaml\n(.*?)```", guide(name), re.S):
        read = yaml.safe_load(block.replace("${WAREHOUSE_SIGNING_SECRET}", SECRET))
        found += read["apps"][0]["destinations"] if "apps" in read else [{**found[0], **read}]
    return found


@pytest.mark.parametrize("name", ADAPTERS)
def test_the_yaml_is_taken_as_it_stands(name: str) -> None:
    destinations = examples(name)

    assert len(destinations) == {"reddit": 1, "x": 2, "webhook": 2}[name]
    for destination in destinations:
        body = {key: value for key, value in destination.items() if key != "name"}
        assert isinstance(validate_destination(body), ValidDestination), validate_destination(body)


@pytest.mark.parametrize("name", ADAPTERS)
def test_every_setting_is_explained(name: str) -> None:
    adapter = ADAPTERS[name]
    settings = [*adapter.credentials_model.model_fields, *adapter.options_model.model_fields]

    assert [one for one in (*settings, *adapter.mapping_model.model_fields) if one not in guide(name)] == []


def _codes(name: str) -> set[str]:
    """Codes of the second half of the first column of "What goes wrong"."""
    table = guide(name).partition("## What goes wrong")[2]
    cells = re.findall(rf"^\| (`(?:{'|'.join(STATES)})`.*?) \|", table, re.M)
    return {code for cell in cells for code in re.findall(r"`(\w+)`", cell)} - set(STATES)


def _known(name: str) -> set[str]:
    sources = {
        "reddit": (reddit, reddit_answers),
        "x": (x, x_answers),
        "webhook": (webhook,),
    }[name]
    texts = "".join(Path(str(module.__file__)).read_text() for module in sources)
    return set(re.findall(r'"([A-Za-z_]+)"', texts)) | OURS


@pytest.mark.parametrize("name", ADAPTERS)
def test_every_code_of_the_guide_exists(name: str) -> None:
    codes = {code for code in _codes(name) if not code.startswith(("http_", "Retry"))}

    assert len(_codes(name)) >= 8
    # X's codes without a row of their own are shown as X gives them.
    assert codes - _known(name) <= {"UNAUTHORIZED_ACCESS", "TOO_MANY_REQUESTS", "SERVICE_UNAVAILABLE"}


def test_every_row_of_a_status_is_in_the_guide() -> None:
    """Reddit's and the webhook's codes are statuses: each that has a row of its own can be looked up."""
    for name, rows in (("reddit", reddit_answers.ANSWERS), ("webhook", webhook.ANSWERS)):
        alone = {row.statuses[0] for row in rows if len(row.statuses) <= 2} - {413}
        missing = [status for status in alone if f"http_{status}" not in guide(name)]
        assert missing == [], name


def test_x_s_codes_are_all_in_the_guide() -> None:
    codes = {row.code for row in x_answers.ANSWERS if row.code} - {
        # Passing faults and faults of our own making: shown with X's words, nothing to do about them.
        "CANCELLED_REQUEST",
        "LOCK_ACQUISITION_TIMEOUT",
        "INTERNAL_ERROR",
        "METHOD_NOT_ALLOWED",
        "MISSING_PARAMETER",
        "WEB_EVENT_TAG_NOT_FOUND",
    }

    assert [code for code in sorted(codes) if code not in guide("x")] == []


def test_every_macro_is_in_the_guide() -> None:
    assert [name for name in MACROS if f"`{{{name}}}`" not in guide("webhook")] == []


@pytest.mark.parametrize("name", SIMULATORS)
def test_the_simulator_names_every_switch_and_fault_it_has(name: str) -> None:
    simulator = SIMULATORS[name]
    text = simulator.__doc__ or ""

    assert [one for one in (*simulator.switch_defaults, *simulator.fault_kinds) if f"`{one}`" not in text] == []
