"""The first pass over a snapshot: its items, services, actions and categories."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from portrait.feature_repo.declaration.input_schema import FieldKind
from portrait.registry.progress import Progress
from portrait.training.encoding.user_batch import Vocabularies, as_text
from portrait.training.encoding.vocabulary import Vocabulary, catalogue_keys, item_keys, place_codes
from portrait.training.runs.training_inputs import TrainingInputs

MAX_CATEGORIES = 1000  # of one field, the most frequent; others count as absent
MAX_SHARES = 64  # services, actions: the same


def survey(inputs: TrainingInputs, progress: Progress) -> tuple[Vocabularies, np.ndarray]:
    """Vocabularies by falling frequency, and how many users touched each item.

    The items are those of the histories and of the catalogue.
    """
    fields = [f.name for f in (*inputs.visible.profile, *inputs.visible.team) if f.kind == FieldKind.CATEGORY]
    items: Counter[str] = Counter(dict.fromkeys(catalogue_keys(inputs.catalogue).to_pylist(), 0))
    services: Counter[str] = Counter()
    actions: Counter[str] = Counter()
    categories: dict[str, Counter[str]] = {name: Counter() for name in fields}
    seen = 0
    for users in inputs.tables():
        _count_items(users, items)
        _count(users["services"].combine_chunks().flatten(), services)
        _count(users["actions"].combine_chunks().flatten(), actions)
        for name in fields:
            _count(as_text(users[name].combine_chunks()), categories[name])
        seen += users.num_rows
        progress("looking at items", seen, inputs.users)
    vocabulary = _by_frequency(items)
    return (
        Vocabularies(
            items=vocabulary,
            services=_by_frequency(services, MAX_SHARES),
            actions=_by_frequency(actions, MAX_SHARES),
            categories={name: _by_frequency(counts, MAX_CATEGORIES) for name, counts in categories.items()},
        ),
        np.array([items[key] for key in vocabulary.values], dtype=np.int64),
    )


def _count(texts: pa.Array, counts: Counter[str]) -> None:
    for entry in pc.value_counts(texts.drop_null()).to_pylist():
        counts[entry["values"]] += entry["counts"]


def _count_items(users: pa.Table, counts: Counter[str]) -> None:
    """Add the number of users that touched each item."""
    lists = users["services"].combine_chunks()
    lengths = np.asarray(pc.fill_null(pc.list_value_length(lists), 0))
    keys = item_keys(lists.flatten(), users["item_ids"].combine_chunks().flatten()).dictionary_encode()
    row = np.repeat(np.arange(users.num_rows, dtype=np.int64), lengths)
    pairs = np.unique(row * max(len(keys.dictionary), 1) + place_codes(keys))
    per_item = np.bincount(pairs % max(len(keys.dictionary), 1), minlength=len(keys.dictionary))
    for key, count in zip(keys.dictionary.to_pylist(), per_item.tolist(), strict=True):
        counts[key] += count


def _by_frequency(counts: Counter[str], most: int | None = None) -> Vocabulary:
    """The most frequent values first, ties by text: the same whatever the order of the buckets."""
    return Vocabulary(value for value, _ in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:most])
