"""The main job: a click becomes a conversion on five platforms and a webhook."""

from __future__ import annotations

import pytest

from tests.support.service import CLICKS, PLATFORMS, Service, eventually


@pytest.mark.parametrize("platform", PLATFORMS)
async def test_install_and_purchase_arrive_with_click_id_value_and_key(running: Service, platform: str) -> None:
    await running.destination(platform)
    await running.click(user_id="p1")

    install = await running.event("install", user_id="p1")
    purchase = await running.event("purchase", user_id="p1", value=4.99, currency="EUR")

    for event in (install, purchase):
        assert event["status"] == "matched"
        assert [one["platform"] for one in event["deliveries"]] == [platform]
        delivery = await running.settled(event["deliveries"][0]["id"], "delivered")
        stored = {one["key"]: one for one in running.received(platform)}[delivery["idempotency_key"]]
        assert stored["click_id"].endswith(next(v for k, v in CLICKS.items() if v in stored["click_id"]))
        assert stored["copies"] == 1
    values = {one["key"]: one["value"] for one in running.received(platform)}
    key = (await running.delivery(purchase["deliveries"][0]["id"]))["idempotency_key"]
    assert values[key] == pytest.approx(4.99)


async def test_everything_arrives_within_a_second_of_the_post(running: Service) -> None:
    for platform in (*PLATFORMS, "webhook"):
        await running.destination(platform)
    await running.click(user_id="p1")
    await running.event("install", user_id="p1")
    done = await eventually(
        running.deliveries, lambda items: len(items) == 6 and all(one["status"] == "delivered" for one in items)
    )
    assert {one["destination"] for one in done} == {*PLATFORMS, "webhook"}
