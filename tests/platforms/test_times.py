from __future__ import annotations

from datetime import datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from postbacks.platforms.times import EPOCH, milliseconds, zulu

moments = st.timedeltas(timedelta(days=-25_000), timedelta(days=300_000)).map(lambda passed: EPOCH + passed)


@given(moments)
def test_milliseconds_are_cut_down_also_before_1970(moment: datetime) -> None:
    assert milliseconds(moment) == (moment - EPOCH) // timedelta(milliseconds=1)


@given(moments)
def test_a_time_ends_in_z_and_reads_back(moment: datetime) -> None:
    elsewhere = moment.astimezone(timezone(timedelta(hours=5, minutes=30)))

    assert zulu(elsewhere).endswith("Z")
    assert datetime.fromisoformat(zulu(elsewhere)) == moment
    assert len(zulu(moment, "milliseconds")) == len("2026-11-23T10:00:00.000Z")
