"""The guide speaks of codes and settings that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from postbacks.platforms.google_ads_answers import OTHER_ERRORS, UPLOAD_ERRORS
from postbacks.platforms.google_answers import ACCESS_REASONS
from postbacks.platforms.google_config import GoogleCredentials, GoogleMapping, GoogleOptions
from postbacks.platforms.google_data_manager_answers import OUTCOME_REASONS, REQUEST_REASONS
from postbacks.platforms.google_oauth import REMEDIES
from tests.platforms.google_setup import service_account

GUIDE = (Path(__file__).parents[2] / "docs/platforms/google.md").read_text()

OURS = {
    "RESOURCE_EXHAUSTED",
    "batch_rejected",
    "click_too_old",
    "http_404",
    "never_confirmed",
    "retries_exhausted",
}
KNOWN = OURS.union(
    REQUEST_REASONS, OUTCOME_REASONS, ACCESS_REASONS, REMEDIES, UPLOAD_ERRORS, *(rows for rows in OTHER_ERRORS.values())
)
STATES = "destination held|`retrying`|`failed`|`expired`|`delivered`"
CODES = sorted(
    {
        code
        for cell in re.findall(rf"^\| (?:{STATES}) \| (.*?) \|", GUIDE, re.M)
        for code in re.findall(r"`(\w+)`", cell)
    }
)


def test_the_guide_has_its_tables() -> None:
    assert len(CODES) > 35


@pytest.mark.parametrize("code", CODES)
def test_each_code_of_the_guide_is_one_that_we_read(code: str) -> None:
    assert code in KNOWN


def test_the_guide_s_yaml_is_a_valid_destination() -> None:
    [example] = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(   apps:.*?)```", GUIDE, re.S)]
    [destination] = example["apps"][0]["destinations"]

    credentials = {**destination["credentials"], "service_account": service_account()}
    assert GoogleCredentials.model_validate(credentials).login_account_id == "9008007006"
    assert GoogleOptions.model_validate(destination["options"]).route == "data_manager"
    assert [GoogleMapping.model_validate(mapping) for mapping in destination["events"].values()]
