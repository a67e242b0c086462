"""Sources of teams' views: what a model asks of one, whether its files can be joined, and which content they have."""

import secrets
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from feast import FeatureView
from sqlalchemy.exc import SQLAlchemyError

from portrait.feature_repo.declaration.feature_types import arrow_type
from portrait.feature_repo.declaration.local_sources import LocalFiles
from portrait.feature_repo.declaration.team_views import TeamFeature, team_features
from portrait.registry.errors import InvalidInput, PortraitError, first_line

USER = "user_id"
PROCESS = secrets.token_hex(8)
"""In place of the content of a source whose content cannot be told: each process joins it anew."""


@dataclass(frozen=True)
class TeamSource:
    """A team's view, and those of its features that are asked for."""

    view: FeatureView
    features: tuple[TeamFeature, ...]
    repo_path: Path

    @property
    def name(self) -> str:
        return str(self.view.name)

    @cached_property
    def schema(self) -> pa.Schema:
        """`user_id` and the features' columns."""
        return pa.schema([(USER, pa.string()), *((one.column, arrow_type(one.type)) for one in self.features)])

    @property
    def stamp(self) -> str:
        """What a join depends on: the features as declared, and the content of the source's files as it is now.

        Raises InvalidInput, with view and file, for files that cannot be joined.
        """
        declared = [(one.column, str(one.type), one.length) for one in self.features]
        files = self.require_readable()
        if files is None:
            return f"{declared} {PROCESS}"
        with self.named_errors():
            return f"{declared} {self.view.ttl} {self._times} {files.stamp}"

    def require_readable(self) -> LocalFiles | None:
        """The source's files, if they lie on this machine; raises InvalidInput, with view and file, for unfit ones."""
        files = self._local_files
        if files is not None:
            with self.named_errors():
                self._require_columns(files)
        return files

    @contextmanager
    def named_errors(self) -> Iterator[None]:
        """Raise what goes wrong in the block as InvalidInput: one line with the view, its source and what to do."""
        try:
            yield
        except (PortraitError, SQLAlchemyError):  # Feast's registry is away: no fault of the view
            raise
        except Exception as error:  # whatever DuckDB, ibis, Arrow and the disk raise for a file that is broken
            raise self._refusal(str(self._path), first_line(error) or type(error).__name__) from error

    def cast(self, joined: pa.Table) -> pa.Table:
        """The features' columns in their declared types; raises InvalidInput with the column whose values are others.

        `joined` has `user_id` and the columns of the features, whatever their types.
        """
        columns = []
        for field in self.schema:
            try:
                columns.append(joined[field.name].cast(field.type))
            except pa.ArrowException as error:
                feature = field.name.removeprefix(f"{self.name}__")
                raise self._refusal(
                    str(self._path), f"column {feature!r} is declared as {field.type}: {first_line(error)}"
                ) from error
        return pa.table(columns, schema=self.schema)

    @property
    def _local_files(self) -> LocalFiles | None:
        return LocalFiles.of(self.view.batch_source, self.repo_path)

    @property
    def _path(self) -> object:
        local = self._local_files
        return local.place if local else getattr(self.view.batch_source, "path", self.view.batch_source.name)

    @property
    def _times(self) -> list[str]:
        source = self.view.batch_source
        return [time for time in (source.timestamp_field, source.created_timestamp_column) if time]

    def _require_columns(self, files: LocalFiles) -> None:
        if not files.files:
            raise self._refusal(str(files.place), "there is no such file" if not files.place.is_dir() else "no Parquet")
        names = self.view.batch_source.field_mapping
        needed = [USER, *self._times, *(one.feature for one in self.features)]
        for file in files.files:
            try:
                schema = pq.read_schema(file)
            except (pa.ArrowException, OSError) as error:
                raise self._refusal(str(file), f"no Parquet file that can be read: {first_line(error)}") from error
            columns = {names.get(field.name, field.name): field.type for field in schema}
            for missing in (one for one in needed if one not in {*columns, *files.partition_keys(file)}):
                found = ", ".join(columns)
                raise self._refusal(str(file), f"it has no column {missing!r}; its columns are: {found[:300]}")
            if (kind := columns.get(USER)) is not None and not _is_text(kind):
                raise self._refusal(str(file), f"{USER!r} is {kind}, and ids of users are text")

    def _refusal(self, where: str, why: str) -> InvalidInput:
        return InvalidInput(
            f"view {self.name} cannot be joined ({where}: {why}): correct its file, or train a version without the "
            f"view, with {' '.join(f'--exclude {one.column}' for one in self.features)}"
        )


def select_sources(views: Iterable[FeatureView], fields: Collection[str] | None, repo_path: Path) -> list[TeamSource]:
    """The views with fields that are asked for (None: all of them), each with these; in the order of `views`."""
    chosen = (
        (view, tuple(one for one in team_features(view) if fields is None or one.column in fields)) for view in views
    )
    return [TeamSource(view, features, repo_path) for view, features in chosen if features]


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return any(is_one(kind) for is_one in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))
