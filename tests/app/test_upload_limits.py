"""Who counts as one visitor, and how much one may upload."""

import asyncio
from typing import Any

import pytest

from body4d.app import upload_limits
from body4d.app.upload_limits import HOUR_S, MAX_AT_ONCE, UploadBudget
from body4d.app.visitors import visitor_address
from body4d.config import AppSettings


@pytest.mark.parametrize(
    ("client", "forwarded", "address"),
    [
        (("198.51.100.7", 50000), "", "198.51.100.7"),
        (("198.51.100.7", 50000), "8.8.8.8", "198.51.100.7"),  # what a visitor claims without a proxy
        (("1.1.1.1", 0), "1.1.1.1, 8.8.8.8, 10.0.0.3", "8.8.8.8"),  # the first entry is the visitor's own word
        (("192.168.0.9", 0), "192.168.0.9", "192.168.0.9"),
        (("2001:db8:1:2:3:4:5:6", 50000), "", "2001:db8:1:2::/64"),
        (("x" * 1000, 1), "", "unknown"),
        (None, "", "unknown"),
    ],
)
def test_whose_request_it_is(client: tuple[str, int] | None, forwarded: str, address: str) -> None:
    headers = [(b"x-forwarded-for", forwarded.encode())] if forwarded else []
    assert visitor_address({"client": client, "headers": headers}) == address


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def budget(**settings: Any) -> tuple[UploadBudget, Clock]:
    clock = Clock()
    return UploadBudget(AppSettings(**settings), clock), clock


def test_a_visitor_uploads_so_often_and_so_much_in_an_hour() -> None:
    often, clock = budget(max_uploads_per_hour=2)
    for _ in range(2):
        assert often.begin("a", 10) is None
        often.end("a", 10)
    refused = often.begin("a", 10)
    assert refused is not None
    assert (refused.status, refused.code, refused.retry_s) == (429, "too_many_uploads", HOUR_S)
    assert often.begin("b", 10) is None
    clock.now += HOUR_S + 1
    assert often.begin("a", 10) is None
    much, _ = budget(max_upload_gigabytes_per_hour=1.0)
    assert much.begin("a", 0.9e9) is None
    assert much.begin("a", 0.2e9) is not None
    assert much.begin("b", 2e9) is None  # one upload is bounded by app.max_megabytes


def test_uploads_at_once_are_few_and_counted_until_they_end() -> None:
    several, _ = budget()
    for _ in range(MAX_AT_ONCE):
        assert several.begin("a", 5) is None
    refused = several.begin("a", 5)
    assert refused is not None
    assert (refused.code, several.incoming_bytes) == ("too_many_uploads_at_once", 5 * MAX_AT_ONCE)
    several.end("a", 5)
    assert several.begin("a", 5) is None


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload_limits, "MAX_VISITORS", 10)
    many, _ = budget()
    many.begin("busy", 1)
    for number in range(50):
        many.begin(str(number), 1)
        many.end(str(number), 1)
    assert len(many._visitors) <= 11
    assert "busy" in many._visitors


def test_an_upload_that_stands_still_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    from starlette.formparsers import MultiPartException

    monkeypatch.setattr(upload_limits, "MAX_IDLE_S", 0.02)
    messages = [{"type": "http.request", "body": b"a", "more_body": True}]

    async def receive() -> dict[str, object]:
        if messages:
            return messages.pop()
        await asyncio.sleep(60)
        raise AssertionError

    async def upload() -> None:
        timed = upload_limits._timed(receive)  # type: ignore[arg-type]
        await timed()
        await timed()

    with pytest.raises(MultiPartException, match="too long"):
        asyncio.run(upload())
