"""Upkeep of a gateway's encoders: they learn new items, and go on without them while the registry is away."""

import logging

import pytest

from portrait.registry.errors import InvalidInput, Unavailable
from portrait.serving.reads.encoders import PAUSE_SECONDS, EncoderCache, Upkeep
from tests.serving.twin_source import version
from tests.serving.twins import TwinEncoder


def test_an_encoder_is_kept_up_whenever_it_is_asked_for() -> None:
    kept: list[TwinEncoder] = []
    cache = EncoderCache(lambda asked: TwinEncoder(asked.number), keep_up=kept.append)
    one = cache.get(version())
    assert cache.get(version()) is one and kept == [one, one]


def test_a_registry_that_is_away_is_asked_again_after_a_pause(caplog: pytest.LogCaptureFixture) -> None:
    now, asked, away = [0.0], [0], [True]

    def bring(encoder: TwinEncoder) -> None:
        asked[0] += 1
        if away[0]:
            raise Unavailable("the registry does not answer")

    upkeep, encoder = Upkeep(bring, clock=lambda: now[0]), TwinEncoder(1)
    with caplog.at_level(logging.WARNING):
        for seconds in (0.0, 1.0, PAUSE_SECONDS - 0.1):
            now[0] = seconds
            upkeep(encoder)
    assert asked == [1]
    assert [record.message for record in caplog.records] == [
        "items beyond position 0 are not known here yet: the registry does not answer"
    ]
    now[0], away[0] = PAUSE_SECONDS, False
    upkeep(encoder)
    upkeep(encoder)
    assert asked == [3]


def test_other_errors_are_not_hidden() -> None:
    def bring(_: TwinEncoder) -> None:
        raise InvalidInput("PORTRAIT_INGEST_MEMORY is too little")

    with pytest.raises(InvalidInput):
        Upkeep(bring)(TwinEncoder(1))
