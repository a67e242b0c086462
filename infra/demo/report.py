"""The report of the demo: tables for the terminal and a map of the users."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from rich.console import RenderableType
from rich.table import Table

from portrait.feature_repo.history.catalogue import catalogue
from portrait.infra.demo.walk import DemoOutcome
from portrait.infra.tables.consumers import consumers_table
from portrait.infra.tables.data import ingest_table
from portrait.infra.tables.layout import table_of
from portrait.infra.tables.versions import versions_table
from portrait.registry.errors import InvalidInput
from portrait.registry.serving_state.serving_state import read_state

if TYPE_CHECKING:
    from matplotlib.axes import Axes


FloatArray = npt.NDArray[np.float32]

# Okabe and Ito's colours, which differ for every kind of colour vision; grey is for the rest.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
GREY = "#BBBBBB"
OTHER, UNKNOWN = "other", "unknown"
TSNE_USERS = 2000  # more take minutes, and the points hide each other
TSNE_PERPLEXITY = 30.0


def favourites(histories: pa.Table, catalogue: pa.Table, top: int = 3) -> dict[str, list[str]]:
    """The `top` items of each user with a history, by summed weight, as the catalogue's text or else the item's id.

    `histories` has the columns of schemas.HISTORY; `catalogue` has service, item_id and text. Returned goods do not
    count.
    """
    with duckdb.connect() as connection:
        connection.register("histories", histories.select(["user_id", "services", "item_ids", "actions", "weights"]))
        connection.register("catalogue", catalogue.select(["service", "item_id", "text"]))
        rows = connection.execute(_FAVOURITES, [top]).fetchall()
    return dict(rows)


_FAVOURITES = """
    WITH events AS (
        SELECT user_id, unnest(services) AS service, unnest(item_ids) AS item_id, unnest(actions) AS action,
               unnest(weights) AS weight
        FROM histories
    ), liked AS (
        SELECT user_id, service, item_id, sum(weight) AS weight FROM events WHERE action <> 'return' GROUP BY ALL
    ), ranked AS (
        SELECT *, row_number() OVER (PARTITION BY user_id ORDER BY weight DESC, service, item_id) AS place FROM liked
    )
    SELECT user_id, list(coalesce(nullif(text, ''), item_id) ORDER BY place)
    FROM ranked LEFT JOIN catalogue USING (service, item_id) WHERE place <= ? GROUP BY user_id ORDER BY user_id
"""


def neighbour_table(
    user_ids: Sequence[str],
    vectors: FloatArray,
    liked: Mapping[str, Sequence[str]],
    shown: int | Sequence[str] = 4,
    neighbours: int = 3,
) -> Table:
    """A few users, what they like, their nearest users by cosine similarity, and what those like.

    `vectors` is [n, d], row i belongs to `user_ids[i]`. Only users of `liked` are shown and compared: for the others
    nearness cannot be judged. `shown` is a number of users, drawn with a fixed seed, or the users themselves.
    """
    known = [row for row, user in enumerate(user_ids) if liked.get(user)]
    users = [user_ids[row] for row in known]
    table = table_of("Nearest users", "user", "likes most", "nearest", "cosine", "which likes most")
    for row in _rows_to_show(users, shown):
        cosine = _cosine(vectors[known], row)
        nearest = np.argsort(-cosine, kind="stable")[: min(neighbours, len(users) - 1)]
        cells = (users[row], _item_text(liked[users[row]]))
        for place, other in enumerate(nearest):
            first, last = place == 0, place == len(nearest) - 1
            found = (users[other], f"{cosine[other]:.2f}", _item_text(liked[users[other]]))
            table.add_row(*(cells if first else ("", "")), *found, end_section=last)
    return table


def draw_map(
    vectors: FloatArray,
    labels: Sequence[object],
    path: Path,
    title: str = "Users by their embedding",
    legend: str = "label",
    quick: bool = False,
) -> Path:
    """Write a PNG with one point a user, coloured by label (None: unknown); returns `path`.

    `vectors` is [n, d]. Two dimensions come from t-SNE on at most 2,000 users, drawn with a fixed seed; from PCA on
    all of them when `quick`, or when there are too few for t-SNE. Raises InvalidInput for fewer than two vectors, and
    unless each vector has a label.
    """
    if len(vectors) != len(labels) or len(vectors) < 2:
        raise InvalidInput(f"cannot draw {len(vectors)} vectors with {len(labels)} labels: it needs two, and one each")
    # Imported here: matplotlib takes a second, and a command line that draws nothing must not wait for it.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    by_tsne = not quick and len(vectors) > 3 * TSNE_PERPLEXITY
    rows = _sample(len(vectors), TSNE_USERS if by_tsne else len(vectors))
    points = _tsne(vectors[rows]) if by_tsne else _pca(vectors[rows])
    figure = Figure(figsize=(9, 6.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    _scatter(axes, points, _names([labels[row] for row in rows]), legend)
    axes.set_title(f"{title}\n", loc="left", fontsize=14, fontweight="bold")
    shown = f"{len(rows):,} of {len(vectors):,} users" if len(rows) < len(vectors) else f"{len(rows):,} users"
    method = "t-SNE" if by_tsne else "first two principal components"
    axes.text(0, 1.015, f"{shown}, {vectors.shape[1]} dimensions, {method}", transform=axes.transAxes, color="#555555")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    return path


def _rows_to_show(users: Sequence[str], shown: int | Sequence[str]) -> list[int]:
    if isinstance(shown, int):
        return [int(row) for row in _sample(len(users), shown)]
    missing = [user for user in shown if user not in users]
    if missing:
        raise InvalidInput(f"cannot show {', '.join(missing)}: no vector, or nothing that they like")
    return [users.index(user) for user in shown]


def _sample(count: int, wanted: int) -> npt.NDArray[np.int64]:
    """At most `wanted` of `count` rows, ascending, drawn with a fixed seed."""
    drawn = np.random.default_rng(0).permutation(count)[:wanted]
    return np.sort(drawn)


def _cosine(vectors: FloatArray, row: int) -> FloatArray:
    """Cosine of every vector to that of `row`, which itself gets -inf."""
    lengths = np.maximum(np.linalg.norm(vectors, axis=1), np.finfo(np.float32).tiny)
    cosine: FloatArray = vectors @ vectors[row] / (lengths * lengths[row])
    cosine[row] = -np.inf
    return cosine


def _item_text(items: Sequence[str]) -> str:
    return " · ".join(items)


def _pca(vectors: FloatArray) -> FloatArray:
    centred = vectors - vectors.mean(axis=0)
    axes = np.linalg.svd(centred.T @ centred, hermitian=True)[0][:, :2]
    points: FloatArray = centred @ axes
    return points


def _tsne(vectors: FloatArray) -> FloatArray:
    from sklearn.manifold import TSNE

    # Half of the usual iterations keep as many neighbours together, in a fraction of the time.
    tsne = TSNE(perplexity=TSNE_PERPLEXITY, init="pca", max_iter=500, random_state=0)
    points: FloatArray = tsne.fit_transform(vectors)
    return points


def _names(labels: Sequence[object]) -> list[str]:
    """Labels as text; the rarest ones form one group when there are more labels than colours."""
    names = [UNKNOWN if label is None else str(label) for label in labels]
    common = {name for name, _ in _names_by_count(names)[: len(COLOURS)]}
    return [name if name in common or name == UNKNOWN else OTHER for name in names]


def _names_by_count(names: Sequence[str]) -> list[tuple[str, int]]:
    """The names with their counts, most frequent first, without the unknown one."""
    counts = Counter(name for name in names if name != UNKNOWN)
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _scatter(axes: "Axes", points: FloatArray, names: Sequence[str], legend: str) -> None:
    groups = [name for name, _ in _names_by_count(names) if name != OTHER]
    colours = {UNKNOWN: GREY, OTHER: "#888888", **dict(zip(groups, COLOURS, strict=False))}
    for name in [*groups, OTHER, UNKNOWN]:
        x, y = points[[found == name for found in names]].T
        if len(x):
            # Grey points lie below the coloured ones.
            order, text = 2 if name in groups else 1, f"{name} ({len(x):,})"
            axes.scatter(x, y, s=9, alpha=0.75, linewidths=0, color=colours[name], label=text, zorder=order)
    axes.legend(title=legend, loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, markerscale=2.5)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_color("#DDDDDD")


def show(outcome: DemoOutcome) -> Iterator[RenderableType]:
    """The tables of the demo in the order of its steps, then two lines: the picture, and how to look around.

    Draws the map of the users into `map.png` in the home.
    """
    portrait = outcome.portrait
    yield ingest_table(outcome.ingest)
    yield versions_table(outcome.versions)
    yield consumers_table(portrait.registry.consumers.list(), read_state(portrait.database).assignments)
    if outcome.vectors is not None and outcome.histories is not None:
        users, vectors = outcome.vectors
        yield neighbour_table(users, vectors, favourites(outcome.histories, catalogue(portrait.log)))
        picture = portrait.settings.home / "map.png"
        draw_map(vectors, [outcome.labels.get(user) for user in users], picture, legend=outcome.label)
    yield _findings(outcome)
    yield _stages(outcome)
    yield f"map of the users: {portrait.settings.home / 'map.png'}"
    yield f"look around in it: PORTRAIT_HOME={portrait.settings.home} portrait status"


def _findings(outcome: DemoOutcome) -> Table:
    table = Table(title="Checked on the way", title_justify="left", title_style="bold", show_header=False)
    for what, finding in outcome.findings:
        table.add_row(what, finding)
    return table


def _stages(outcome: DemoOutcome) -> Table:
    table = Table(title="Seconds", title_justify="left", title_style="bold", show_header=False)
    for stage, seconds in outcome.stages:
        table.add_row(stage, f"{seconds:.1f}")
    return table
