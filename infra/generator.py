"""Generated users with planted tastes: the demo's default data, and the tests' small data.

A representation has to find again what is planted here: a taste for each user, which may drift into another; sessions
of one taste in three services, whose items share only the words of their titles; onboarding picks; a profile that says
a little about the taste; and activity that fades in the users who are about to leave.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from portrait.feature_repo.schemas import TIME
from portrait.registry.errors import InvalidInput

START = datetime(2024, 1, 1, tzinfo=UTC)
END = datetime(2025, 1, 1, tzinfo=UTC)  # no event at or after it; fixed, so that the same seed gives the same files

TASTES: dict[str, str] = {
    "nature": "forest river meadow wild bird mountain rain moss trail lake",
    "space": "orbit comet lunar galaxy rocket nebula star gravity probe mars",
    "kitchen": "bread spice garlic oven noodle lemon pan feast honey harvest",
    "motion": "sprint goal marathon climb ride rally coach surf team stride",
    "noir": "shadow detective alibi midnight verdict cipher heist witness fog motive",
    "family": "puppy picnic bedtime crayon cousin lullaby balloon garden pirate teddy",
    "neon": "synth pixel arcade cyber laser bass glitch turbo vector drone",
    "heritage": "castle sonata empire fresco opera violin dynasty marble ballad crown",
}
"""A planted taste and the words of its items' titles."""

COMMON_WORDS = ["best", "new", "story", "collection", "classic", "summer", "first", "big", "night", "special"]
COUNTRIES = np.array(["BR", "DE", "ES", "FR", "IN", "JP", "SE", "US"])  # taste k lives in country k more often
ACTIVITY_SPREAD = 0.8  # of its logarithm: the ninth decile of users has eight times the sessions of the first
PLANS = np.array(["free", "standard", "family"])


@dataclass(frozen=True)
class _Service:
    name: str
    formats: tuple[str, ...]  # last word of a title, and a tag
    on_taste: tuple[str, float]  # action and weight of most events
    off_taste: tuple[str, float]
    items_per_taste: int
    share: float  # of sessions
    hour: float  # at which it is used most, UTC


SERVICES = (
    _Service("music", ("song", "remix", "live"), ("play", 1.0), ("skip", 0.2), 60, 0.5, 8.0),
    _Service("video", ("film", "series", "talk"), ("watch", 1.0), ("abandon", 0.2), 40, 0.3, 20.0),
    _Service("shop", ("poster", "book", "kit"), ("purchase", 3.0), ("browse", 0.5), 30, 0.2, 13.0),
)


@dataclass(frozen=True)
class GeneratedFiles:
    """Canonical tables as Parquet files."""

    events: Path
    items: Path
    users: Path
    labels: Path


def generate(
    out: Path, users: int = 3000, seed: int = 7, events_per_user: float = 35.0, pickiness: float = 0.0
) -> GeneratedFiles:
    """Write `users` generated users, in seconds, to `out`; the same arguments give the same tables.

    Everybody likes two words of every taste. `pickiness` is the share of events whose item has one of them in its
    title: a model that reads titles can find this of a user beyond the taste, in all services.

    2% of the users have nothing but an id, 5% only their answers at sign-up, and 1% only events (no row in the users
    table). All users have labels (`taste`, at the end of the log; `churned`, after it), except those with only an id.
    Raises InvalidInput when `users` or `events_per_user` is not positive, or `pickiness` is not between 0 and 1.
    """
    if not 0 <= pickiness <= 1:
        raise InvalidInput(f"pickiness={pickiness} is the share of events that follow a user's words: from 0 to 1")
    if users < 1 or events_per_user <= 0:
        raise InvalidInput(f"cannot generate {users} users with {events_per_user} events each: both must be positive")
    rng = np.random.default_rng(seed)
    people = _people(rng, users)
    catalogue = _catalogue(rng)
    tables = {
        "events": _events(rng, people, catalogue, events_per_user, pickiness),
        "items": catalogue.table,
        "users": _profiles(rng, people, catalogue),
        "labels": _labels(rng, people),
    }
    out.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        pq.write_table(table, out / f"{name}.parquet", compression="zstd")
    return GeneratedFiles(**{name: out / f"{name}.parquet" for name in tables})


IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _People:
    """Arrays with one entry a user."""

    ids: pa.Array
    first_taste: IntArray
    last_taste: IntArray  # the same for three users of four
    focus: FloatArray  # share of sessions that follow the taste
    activity: FloatArray  # relative number of sessions
    fade: FloatArray  # 0 steady .. 3 almost gone at the end
    signed_up: FloatArray  # seconds since START
    silent: npt.NDArray[np.bool_]  # no events
    unknown: npt.NDArray[np.bool_]  # nothing at all
    unregistered: npt.NDArray[np.bool_]  # events only

    def __len__(self) -> int:
        return len(self.first_taste)


@dataclass(frozen=True)
class _Catalogue:
    """All items, sorted by (service, taste, popularity)."""

    table: pa.Table
    first: IntArray  # [service, taste] row of its most popular item
    words: IntArray  # [items, 2] places of the title's words among those of the taste

    def with_word(self, service: int, taste: int, word: int) -> IntArray:
        """Rows of the items of a service and taste with this word in their title, most popular first."""
        rows = self.first[service, taste] + np.arange(SERVICES[service].items_per_taste)
        found: IntArray = rows[(self.words[rows] == word).any(axis=1)]
        return found


def _seconds() -> float:
    return (END - START).total_seconds()


def _people(rng: np.random.Generator, count: int) -> _People:
    taste = rng.integers(len(TASTES), size=count)
    drifts = rng.random(count) < 0.25
    kind = (rng.permutation(count) + 0.5) / count  # shares of the special kinds are exact
    return _People(
        ids=pa.array(np.char.mod("u%06d", np.arange(count)), pa.string()),
        first_taste=taste,
        last_taste=np.where(drifts, (taste + rng.integers(1, len(TASTES), size=count)) % len(TASTES), taste),
        focus=rng.uniform(0.6, 0.95, count),
        activity=rng.lognormal(0.0, ACTIVITY_SPREAD, count),
        fade=rng.choice([0.0, 1.0, 3.0], count, p=[0.5, 0.2, 0.3]),
        signed_up=rng.beta(1.0, 2.0, count) * (_seconds() - 7 * 86_400),
        silent=kind < 0.07,
        unknown=kind < 0.02,
        unregistered=kind > 0.99,
    )


def _catalogue(rng: np.random.Generator) -> _Catalogue:
    first: list[int] = []
    ids: list[str] = []
    services: list[str] = []
    texts: list[str] = []
    tags: list[list[str]] = []
    places: list[list[int]] = []
    for service in SERVICES:
        for taste, words in TASTES.items():
            first.append(len(ids))
            for _ in range(service.items_per_taste):
                form = str(rng.choice(service.formats))
                chosen = rng.choice(words.split(), 2, replace=False)
                title = [*chosen, rng.choice(COMMON_WORDS), form]
                places.append([words.split().index(word) for word in chosen])
                ids.append(f"{service.name}-{len(ids):04d}")
                services.append(service.name)
                texts.append(" ".join(map(str, title)))
                tags.append([taste, form])
    table = pa.table({"item_id": ids, "service": services, "text": texts, "tags": tags})
    return _Catalogue(table, np.array(first).reshape(len(SERVICES), len(TASTES)), np.array(places))


def _events(
    rng: np.random.Generator, people: _People, catalogue: _Catalogue, events_per_user: float, pickiness: float
) -> pa.Table:
    """Sessions of one user, service and taste; each is one to seven events within minutes."""
    mean = np.exp(ACTIVITY_SPREAD**2 / 2)  # of the activity's distribution
    sessions = np.maximum(rng.poisson(events_per_user / 4.0 / mean * people.activity), 1)
    user = np.repeat(np.arange(len(people)), np.where(people.silent, 0, sessions))
    # Activity falls as (1 - t)^fade over a user's days: t of a session is a draw from that density.
    life = 1.0 - rng.random(len(user)) ** (1.0 / (1.0 + people.fade[user]))
    service = rng.choice(len(SERVICES), len(user), p=[service.share for service in SERVICES])
    begun = people.signed_up[user] + life * (_seconds() - people.signed_up[user])
    begun = _move_to_service_hour(rng, begun, service, people.signed_up[user])
    own = np.where(rng.random(len(user)) < life, people.last_taste[user], people.first_taste[user])
    follows = rng.random(len(user)) < people.focus[user]
    taste = np.where(follows, own, rng.integers(len(TASTES), size=len(user)))

    session = np.repeat(np.arange(len(user)), rng.integers(1, 8, len(user)))
    time = np.minimum(begun[session] + rng.uniform(0, 1800, len(session)), _seconds() - 1.0)
    order = np.lexsort((session, time))
    session, time = session[order], time[order]
    item = _items(rng, catalogue, service[session], taste[session])
    if pickiness:  # without it nothing is drawn here, so that the same arguments give the same tables as ever
        item = _draw_liked_items(rng, catalogue, user[session], service[session], taste[session], item, pickiness)
    return _event_table(people, catalogue, user[session], item, time, service[session], follows[session])


def _move_to_service_hour(
    rng: np.random.Generator, begun: FloatArray, service: IntArray, earliest: FloatArray
) -> FloatArray:
    """Move sessions within their day to the hours at which their service is used."""
    peak = np.array([service.hour for service in SERVICES])[service]
    hour = rng.normal(peak, 2.5) % 24
    return np.clip(np.floor(begun / 86_400) * 86_400 + hour * 3600, earliest, _seconds() - 1.0)


def _items(rng: np.random.Generator, catalogue: _Catalogue, service: IntArray, taste: IntArray) -> IntArray:
    """Draw items, the k-th most popular of (service, taste) with a probability of about 1/k."""
    count = np.array([service.items_per_taste for service in SERVICES])[service]
    rank = np.floor(np.exp(rng.random(len(service)) * np.log(count + 1.0))).astype(np.int64) - 1
    drawn: IntArray = catalogue.first[service, taste] + np.minimum(rank, count - 1)
    return drawn


def _draw_liked_items(
    rng: np.random.Generator,
    catalogue: _Catalogue,
    user: IntArray,
    service: IntArray,
    taste: IntArray,
    item: IntArray,
    pickiness: float,
) -> IntArray:
    """Replace a share of the items by items with a word that the user likes, drawn by popularity."""
    words = np.array([len(text.split()) for text in TASTES.values()]).min()
    liked = np.argsort(rng.random((user.max() + 1, words)), axis=1)[:, :2]
    word = liked[user, rng.integers(2, size=len(user))]
    picky = rng.random(len(user)) < pickiness
    draws = rng.random(len(user))
    found = item.copy()
    cells = (service * len(TASTES) + taste) * words + word
    for cell in np.unique(cells[picky]):
        of_taste, one = divmod(int(cell), int(words))
        rows = catalogue.with_word(*divmod(of_taste, len(TASTES)), one)
        events = np.flatnonzero(picky & (cells == cell))
        if len(rows):
            rank = np.floor(np.exp(draws[events] * np.log(len(rows) + 1.0))).astype(np.int64) - 1
            found[events] = rows[np.minimum(rank, len(rows) - 1)]
    return found


def _event_table(
    people: _People,
    catalogue: _Catalogue,
    user: IntArray,
    item: IntArray,
    time: FloatArray,
    service: IntArray,
    follows: npt.NDArray[np.bool_],
) -> pa.Table:
    code = service * 2 + ~follows
    actions = [action for service in SERVICES for action in (service.on_taste, service.off_taste)]
    return pa.table(
        {
            "user_id": people.ids.take(user),
            "item_id": catalogue.table["item_id"].combine_chunks().take(item),
            "event_time": _times(time),
            "service": pa.array([service.name for service in SERVICES]).take(service),
            "action": pa.array([action for action, _ in actions]).take(code),
            "weight": pa.array([weight for _, weight in actions], pa.float32()).take(code),
        }
    )


def _profiles(rng: np.random.Generator, people: _People, catalogue: _Catalogue) -> pa.Table:
    count = len(people)
    country = np.where(rng.random(count) < 0.4, people.first_taste, rng.integers(len(COUNTRIES), size=count))
    plan = np.where(people.activity > rng.lognormal(0.5, 0.8, count), rng.integers(1, 3, count), 0)
    birth_year = np.round(rng.normal(1970 + 4 * people.first_taste, 8.0)).astype(np.int64)
    said_nothing = people.unknown
    undisclosed = said_nothing | (rng.random(count) < 0.1)
    profiles = pa.table(
        {
            "user_id": people.ids,
            "created_time": _times(people.signed_up, said_nothing),
            "onboarding_items": _onboarding(rng, people, catalogue),
            "country": pa.array(COUNTRIES[country], pa.string(), mask=said_nothing),
            "plan": pa.array(PLANS[plan], pa.string(), mask=said_nothing),
            "birth_year": pa.array(birth_year, pa.int64(), mask=undisclosed),
        }
    )
    return profiles.filter(pa.array(~people.unregistered))


def _onboarding(rng: np.random.Generator, people: _People, catalogue: _Catalogue) -> pa.Array:
    """Three to five picks of the first taste; none for unknown users and for a third of those with events."""
    skips = people.unknown | (~people.silent & (rng.random(len(people)) < 0.33))
    picks = np.where(skips, 0, rng.integers(3, 6, len(people)))
    taste = np.repeat(people.first_taste, picks)
    item = _items(rng, catalogue, rng.integers(len(SERVICES), size=len(taste)), taste)
    offsets = pa.array(np.concatenate([[0], np.cumsum(picks)]), pa.int32())
    chosen = catalogue.table["item_id"].combine_chunks().take(item)
    return pa.ListArray.from_arrays(offsets, chosen, mask=pa.array(skips))


def _labels(rng: np.random.Generator, people: _People) -> pa.Table:
    churned = rng.random(len(people)) < np.array([0.15, 0.4, 0.75])[np.searchsorted([0.5, 2.0], people.fade)]
    labels = pa.table(
        {
            "user_id": people.ids,
            "event_time": _times(np.full(len(people), _seconds())),
            "taste": pa.array(list(TASTES)).take(people.last_taste),
            "churned": churned,
        }
    )
    return labels.filter(pa.array(~people.unknown))


def _times(seconds: FloatArray, null: npt.NDArray[np.bool_] | None = None) -> pa.Array:
    """Seconds since START as time stamps, to the millisecond."""
    start = round(START.timestamp() * 1e6)
    return pa.array(start + np.round(seconds * 1e3).astype(np.int64) * 1000, TIME, mask=null)
