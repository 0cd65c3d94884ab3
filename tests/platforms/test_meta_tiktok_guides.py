"""The guides of Meta and TikTok speak of codes and settings that exist, and of all of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from postbacks.domain.model import Kind, Verdict
from postbacks.platforms import meta, tiktok
from postbacks.platforms.base import Adapter
from postbacks.platforms.code_table import CodeTable, named_codes
from postbacks.platforms.meta_answers import TABLE as META_TABLE
from postbacks.platforms.sharing import REFUSED_BY_PLAYER
from postbacks.platforms.tiktok_answers import TABLE as TIKTOK_TABLE

GUIDES = Path(__file__).parents[2] / "docs/platforms"
PLATFORMS: list[tuple[Adapter[Any, Any], CodeTable, Any]] = [
    (meta.Meta(), META_TABLE, meta),
    (tiktok.TikTok(), TIKTOK_TABLE, tiktok),
]
STATES = {
    Kind.HOLD: ("destination held", "held"),
    Kind.REFUSED: ("`failed`",),
    Kind.EXPIRED: ("`expired`",),
    Kind.RETRY: ("`retrying`",),
    Kind.DELIVERED: ("`delivered`",),
}
CODE = r"\d+(?:/\d+)?"

each = pytest.mark.parametrize(("adapter", "table", "module"), PLATFORMS, ids=["meta", "tiktok"])


def guide(adapter: Adapter[Any, Any]) -> str:
    return (GUIDES / f"{adapter.name}.md").read_text()


def rows(adapter: Adapter[Any, Any]) -> list[tuple[str, str]]:
    """State and the rest of the first cell, of each row under "What goes wrong"."""
    wrong = guide(adapter).partition("## What goes wrong")[2]
    cells = re.findall(r"^\| (destination held|held|`\w+`), (.*?) \|", wrong, re.M)
    return [(str(state), str(cell)) for state, cell in cells]


def codes(cell: str) -> Iterator[tuple[int, int | None]]:
    """Those that a cell names, ranges included."""
    for first, last in re.findall(rf"`({CODE})`(?:[–…]`({CODE})`)?", cell):
        (code, sub), (last_code, last_sub) = (_pair(one) for one in (first, last or first))
        yield from ((code, one) for one in range(sub, last_sub + 1)) if sub and last_sub else ()
        yield from ((one, None) for one in range(code, last_code + 1)) if not sub else ()


def _pair(text: str) -> tuple[int, int]:
    code, _, sub = text.partition("/")
    return int(code), int(sub or 0)


@each
def test_a_code_of_the_guide_means_what_the_table_says(
    adapter: Adapter[Any, Any], table: CodeTable, module: Any
) -> None:
    claims = [(state, code) for state, cell in rows(adapter) for code in codes(cell)]
    # What the table leaves to the words: 40002 about the destination, 100 about the proof.
    by_words = {(40002, None), (100, None)}

    assert len(claims) > 25
    for state, code in claims:
        row = table.find(*code)
        if row is not None and code not in by_words:
            assert state in STATES[row.kind], (state, code)


@each
def test_each_row_of_the_table_is_in_the_guide(adapter: Adapter[Any, Any], table: CodeTable, module: Any) -> None:
    named = {code for _, cell in rows(adapter) for code in codes(cell)}
    # Success, and what the guide sums up ("other `100/…`").
    rest = {(0, None)} | {code for row in table.rows for code in named_codes(row) if code[0] == 100}
    missing = [row.codes for row in table.rows if not (named | rest) & set(named_codes(row))]

    assert missing == []


@each
def test_each_reason_for_not_sending_is_in_the_guide(adapter: Adapter[Any, Any], table: CodeTable, module: Any) -> None:
    verdicts = [one for one in vars(module).values() if isinstance(one, Verdict)]
    reasons = {(f"`{one.kind.value}`", one.code) for one in verdicts}
    told = {(state, code) for state, cell in rows(adapter) for code in re.findall(r"`([a-z_]+)`", cell)}

    assert REFUSED_BY_PLAYER in verdicts
    assert reasons <= told


@each
def test_each_setting_is_in_the_guide_and_the_example_is_valid(
    adapter: Adapter[Any, Any], table: CodeTable, module: Any
) -> None:
    text = guide(adapter)
    (example,) = re.findall(r"```yaml\n(.*?)```", text, re.S)
    (destination,) = yaml.safe_load(example)["apps"][0]["destinations"]
    credentials = adapter.credentials_model.model_validate(destination["credentials"])
    options = adapter.options_model.model_validate(destination["options"])
    adapter.validate(credentials, options, destination["events"])

    for name in adapter.credentials_model.model_fields:
        assert f"`credentials.{name}`" in text
    for name in adapter.options_model.model_fields:
        assert f"`{name}`" in text or f"`_{name.rpartition('_')[2]}`" in text, name
    for game_event, mapping in adapter.presets.items():
        assert re.search(rf"`{game_event}` \| `{mapping['name']}`", text), game_event
