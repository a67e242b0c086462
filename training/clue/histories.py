"""Histories by service: users as one flat sequence of events per service, the input of CLUE."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import torch

from portrait.training.clue.batch import Sequences, gap_bucket
from portrait.training.encoding.arrays import Events, Int64, UserArrays

ONBOARDING = -2  # the service of onboarding picks
NO_EVENT = -1  # seconds since the event before the first one


@dataclass(frozen=True)
class ServiceHistories:
    """k sequences of n users: user after user, each oldest first. No sequence is empty."""

    user: Int64  # [k] row of the user, ascending
    service: Int64  # [k] code; services that the model does not know share one
    starts: Int64  # [k + 1] where the events of each begin
    items: Int64  # [events] codes, all known
    actions: Int64  # [events] code + 1; 0 = unknown
    seconds: Int64  # [events] since the event before it in the sequence

    @classmethod
    def from_arrays(cls, users: UserArrays, longest: int) -> Self:
        """The newest `longest` events of every service, and the onboarding picks as one service more.

        Events of items that the model does not know are left out: they have no vector.
        """
        user, service, time, item, action = _behaviour(users.events)
        picks = users.onboarding
        user = np.concatenate([user, picks.user])
        service = np.concatenate([service, np.full(len(picks.user), ONBOARDING)])
        time = np.concatenate([time, np.zeros(len(picks.user), np.int64)])
        item = np.concatenate([item, picks.item])
        action = np.concatenate([action, np.zeros(len(picks.user), np.int64)])
        order = np.lexsort((time, service, user))  # stable: events of one instant keep their order
        user, service, time = user[order], service[order], time[order]
        begins = _begins(user, service)
        ends = np.append(begins, len(user))[1:]
        rank = np.repeat(ends, ends - begins) - np.arange(len(user))  # 1 for the newest of its sequence
        kept = np.flatnonzero(rank <= longest)
        user, service, time = user[kept], service[kept], time[kept]
        begins = _begins(user, service)
        seconds = np.diff(time, prepend=0) // 1_000_000
        seconds[begins] = NO_EVENT
        return cls(
            user=user[begins],
            service=service[begins],
            starts=np.append(begins, len(user)),
            items=item[order][kept],
            actions=action[order][kept],
            seconds=seconds,
        )

    @classmethod
    def none(cls) -> Self:
        nothing = np.empty(0, np.int64)
        return cls(nothing, nothing, np.zeros(1, np.int64), nothing, nothing, nothing)

    def __len__(self) -> int:
        return len(self.user)

    @property
    def lengths(self) -> Int64:
        """int64 [k] number of events of each sequence."""
        return np.diff(self.starts)

    def arrays(self) -> dict[str, Int64]:
        """The arrays by name, to be stored."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def newest(self, longest: int) -> Self:
        """The histories with at most the newest `longest` events of every sequence, as if built so short."""
        lengths = np.minimum(self.lengths, longest)
        ends = np.cumsum(lengths)
        # Place of each kept event: counted on from where the kept part of its sequence begins.
        kept = np.arange(ends[-1] if len(ends) else 0) + np.repeat(self.starts[1:] - ends, lengths)
        starts = np.concatenate([[0], ends])
        seconds = self.seconds[kept]
        seconds[starts[:-1]] = NO_EVENT
        return type(self)(self.user, self.service, starts, self.items[kept], self.actions[kept], seconds)

    @classmethod
    def joined(cls, parts: Sequence["ServiceHistories"], users: Sequence[int]) -> "ServiceHistories":
        """The histories of several tables of users as one; `users` counts the rows of each table."""
        parts, users = [cls.none(), *parts], [0, *users]
        first = np.cumsum([0, *users])
        starts = np.cumsum([0, *(len(part.items) for part in parts)])
        whole: Mapping[str, Int64] = {
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in ("service", "items", "actions", "seconds")
        }
        return cls(
            user=np.concatenate([part.user + first[place] for place, part in enumerate(parts)]),
            starts=np.concatenate([*(p.starts[:-1] + starts[i] for i, p in enumerate(parts)), starts[-1:]]),
            **whole,
        )

    def padded(self, begins: Int64, ends: Int64, shuffle: np.random.Generator | None = None) -> Sequences:
        """The events from `begins` to before `ends` [rows] as one sequence each, padded at the left.

        Shuffled events keep their action and gap; the first event of a cut has no gap.
        """
        width = int((ends - begins).max(initial=1))
        places = ends[:, None] - np.arange(width, 0, -1)  # [rows, width], the newest last
        there = places >= begins[:, None]
        places = np.where(there, places, 0)
        seconds = np.where(places == begins[:, None], NO_EVENT, self.seconds[places])
        columns = [np.where(there, self.items[places], -1), np.where(there, self.actions[places], 0), seconds]
        if shuffle is not None:
            order = np.argsort(np.where(there, shuffle.random(places.shape), -1.0), axis=1, kind="stable")
            columns = [np.take_along_axis(column, order, axis=1) for column in columns]
        item, action, gap = map(torch.from_numpy, columns)
        return Sequences(item, action, gap_bucket(gap))


def _behaviour(events: Events) -> tuple[Int64, Int64, Int64, Int64, Int64]:
    known = events.item >= 0
    return (
        events.user[known],
        events.service[known],
        events.time[known],
        events.item[known],
        events.action[known] + 1,
    )


def _begins(user: Int64, service: Int64) -> Int64:
    """Places at which sequences begin among events ordered by user and service."""
    if not len(user):
        return np.empty(0, np.int64)
    changes = (np.diff(user) != 0) | (np.diff(service) != 0)
    return np.concatenate([[0], np.flatnonzero(changes) + 1])
