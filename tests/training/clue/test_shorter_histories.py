"""Shorter sequences of histories that are there, and the spans of the views."""

from dataclasses import fields

import numpy as np
import pytest

from portrait.training.clue.histories import ServiceHistories
from portrait.training.clue.objective import ObjectiveName
from portrait.training.clue.views import Views
from portrait.training.encoding.user_batch import Batcher
from portrait.training.runs.survey import survey
from tests.training.example import AS_OF_US, inputs, population


def histories(longest: int) -> ServiceHistories:
    given = inputs(population())
    vocabularies, _ = survey(given, lambda *_, **__: None)
    batcher = Batcher(given.visible, vocabularies, onboarding=True)
    parts = [(ServiceHistories.from_arrays(batcher.arrays(t, AS_OF_US), longest), t.num_rows) for t in given.tables()]
    return ServiceHistories.joined([part for part, _ in parts], [users for _, users in parts])


@pytest.mark.parametrize("longest", [1, 5, 64])
def test_the_newest_events_are_those_of_shorter_histories(longest: int) -> None:
    cut, made = histories(64).newest(longest), histories(longest)
    assert cut.lengths.max() == min(longest, histories(64).lengths.max())
    for field in fields(made):
        assert (getattr(cut, field.name) == getattr(made, field.name)).all(), field.name


def test_the_same_users_have_two_views_whatever_the_length() -> None:
    users = [Views(histories(longest), ObjectiveName.CROSS_SERVICE).users for longest in (2, 64)]
    assert (users[0] == users[1]).all() and len(users[0]) > 80


def test_spans_are_what_is_drawn() -> None:
    views = Views(histories(8), ObjectiveName.CROSS_SERVICE)
    spans = views.spans(views.users, np.random.default_rng(3))
    drawn = views.draw(views.users, np.random.default_rng(3))
    for (begins, ends), view in zip(spans, drawn, strict=True):
        assert ((view.items >= 0).sum(dim=1).numpy() == ends - begins).all()
        assert (view.items[:, -1].numpy() == views.histories.items[ends - 1]).all()
