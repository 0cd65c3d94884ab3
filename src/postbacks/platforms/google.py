"""Google Ads: the adapter, which picks one of two routes (sheet google, 0).

`google_data_manager` is the default; `google_ads` is for Cloud projects that Google still lets use it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar

from postbacks.domain.model import Conversion, Verdict
from postbacks.domain.planning import Timing
from postbacks.platforms import google_ads, google_conversions, google_data_manager, google_oauth, google_outcomes
from postbacks.platforms.base import Adapter, Answer, Built, CheckResult, Prepared, Request, Token
from postbacks.platforms.google_config import (
    API_BASES,
    GoogleCredentials,
    GoogleMapping,
    GoogleOptions,
    GoogleTarget,
    distinct_actions,
)


class Google(Adapter[GoogleCredentials, GoogleOptions]):
    """Google Ads by click ID, over the Data Manager API or the Google Ads API."""

    name = "google"
    click_id_types = google_conversions.CLICK_ID_TYPES
    api_bases = API_BASES
    max_batch = google_conversions.MAX_BATCH
    credentials_model = GoogleCredentials
    options_model = GoogleOptions
    mapping_model = GoogleMapping
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Empty: Google counts by conversion actions, whose numbers only the operator knows."""

    def validate(
        self, credentials: GoogleCredentials, options: GoogleOptions, events: Mapping[str, Mapping[str, Any]]
    ) -> None:
        """Raises `ValueError` where the service account's private key cannot sign."""
        if credentials.service_account:
            google_oauth.check_private_key(credentials.service_account)

    def wildcard(self, event_name: str) -> Mapping[str, Any] | None:
        """Google has no custom events: each needs its conversion action."""
        return None

    def timing(self, target: GoogleTarget) -> Timing:
        """From `hold_hours` after the click, because Google refuses younger ones, up to 90 days after it, less an hour
        (sheet google, 4.5).

        With a hold of 0 at once: a time in the future, from a game whose clock is ahead, is sent as now.
        """
        return Timing(
            age=google_conversions.AGE,
            age_of_click=True,
            wait=timedelta(hours=target.options.hold_hours),
            wait_from_click=True,
        )

    def token_request(self, target: GoogleTarget, now: datetime) -> Request:
        """Fetches an access token for the scope of the route (sheet google, 3)."""
        return google_oauth.token_request(target, now)

    def read_token(self, answer: Answer) -> Token | Verdict:
        """The token; HOLD for a dead grant, RETRY for a passing fault."""
        return google_oauth.read_token(answer)

    def build(self, target: GoogleTarget, conversions: Sequence[Conversion], now: datetime, token: str | None) -> Built:
        """Requests of the chosen route; `token` is the bearer."""
        if target.options.route == "ads_api":
            return google_ads.build(target, conversions, now, token)
        return google_data_manager.build(target, conversions, now, token)

    def read(self, target: GoogleTarget, prepared: Prepared, answer: Answer, now: datetime) -> Sequence[Verdict]:
        """Verdicts of the chosen route; on `data_manager` at best ACCEPTED."""
        if target.options.route == "ads_api":
            return google_ads.read(target, prepared, answer, now)
        return google_data_manager.read(target, prepared, answer, now)

    def confirm_request(self, target: GoogleTarget, reference: str, token: str | None) -> Request:
        """Asks Data Manager for the outcome, also after the destination's route was changed."""
        return google_data_manager.confirm_request(target, reference, token)

    def read_confirmation(
        self, target: GoogleTarget, answer: Answer, indexes: Sequence[int], now: datetime
    ) -> Sequence[Verdict]:
        """ACCEPTED while Google decides; then each event's own verdict."""
        return google_outcomes.read_confirmation(target, answer, indexes, now)

    def check_request(self, target: GoogleTarget, now: datetime, token: str | None) -> Request:
        """`check_request_for` a destination that maps no event yet."""
        return self.check_request_for(target, (), now, token)

    def read_check(self, target: GoogleTarget, answer: Answer) -> CheckResult:
        """`read_check_for` a destination that maps no event yet."""
        return self.read_check_for(target, (), answer)

    def check_request_for(
        self, target: GoogleTarget, mappings: Sequence[Mapping[str, Any]], now: datetime, token: str | None
    ) -> Request:
        """A `validateOnly` request on the chosen route, to the destination's conversion actions; it records nothing."""
        actions = distinct_actions(mappings)
        if target.options.route == "ads_api":
            return google_ads.check_request(target, actions, now, token)
        return google_data_manager.check_request(target, actions, now, token)

    def read_check_for(
        self, target: GoogleTarget, mappings: Sequence[Mapping[str, Any]], answer: Answer
    ) -> CheckResult:
        """Whether credentials, accounts and conversion actions work, with a remedy where not."""
        actions = distinct_actions(mappings)
        if target.options.route == "ads_api":
            return google_ads.read_check(target, actions, answer)
        return google_data_manager.read_check(target, actions, answer)
