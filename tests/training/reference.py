"""Encoding written a second time, one user and one event at a time, straight from an artifact's files."""

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from safetensors.numpy import load_file

DAY = 86_400_000_000


def log(value: float) -> float:
    return math.copysign(math.log1p(abs(value)), value)


class Reference:
    def __init__(self, artifact: Path) -> None:
        document = json.loads((artifact / "encoder.json").read_text())
        items = pq.read_table(artifact / "items.parquet").to_pylist()
        tensors = load_file(artifact / "items.safetensors")
        self.weights = load_file(artifact / "weights.safetensors")
        self.layout, self.vocabularies = document["layout"], document["vocabularies"]
        self.schema = document["schema"]
        self.vectors: dict[str, dict[tuple[str, str], np.ndarray]] = {
            modality: {
                (row["service"], row["item_id"]): vector
                for row, vector in zip(items, tensors[modality], strict=True)
                if not np.isnan(vector[0])
            }
            for modality, _ in self.layout["modalities"]
        }
        self.items = [(row["service"], row["item_id"]) for row in items]

    def encode(self, user: dict[str, Any], as_of: int) -> np.ndarray:
        blocks = self.blocks(user, as_of)
        if all(block is None for block, _ in blocks):
            return self.weights["prior"]
        if "known" in self.weights:
            events = sum(time < as_of for time in user["event_times"])
            return self.linear(blocks, events)
        return self.network(blocks)

    def blocks(self, user: dict[str, Any], as_of: int) -> list[tuple[list[float] | None, int]]:
        """Values of each block in order, None where absent, and its width."""
        events = [
            dict(zip(("service", "item", "action", "weight", "time"), event, strict=True))
            for event in zip(
                *(user[c] for c in ("services", "item_ids", "actions", "weights", "event_times")), strict=True
            )
            if event[4] < as_of
        ]
        visible = user["created_time"] is None or user["created_time"] < as_of
        picks = (user["onboarding_items"] or []) if visible else []
        windows = [days * DAY for days in self.layout["windows_days"]]
        found: list[tuple[list[float] | None, int]] = []
        for modality, width in self.layout["modalities"]:
            for window in windows:
                inside = [(e["service"], e["item"]) for e in events if as_of - window <= e["time"]]
                found.append((self.pooled(modality, inside), width))
            if self.layout.get("all_time"):
                found.append((self.pooled(modality, [(e["service"], e["item"]) for e in events]), width))
        for modality, width in self.layout["modalities"] if self.layout.get("latest_decay") else []:
            found.append((self.latest(modality, events), width))
        for modality, width in self.layout["modalities"] if self.layout["onboarding"] else []:
            keys = [next((key for key in self.items if key[1] == pick), None) for pick in picks]
            found.append((self.pooled(modality, [key for key in keys if key]), width))
        found.append((self.recency(events, as_of), 2))
        found.append((self.activity(events, as_of, windows), 4 * (len(windows) + 1)))
        found.append(
            (
                self.shares(
                    [e["time"] // 3_600_000_000 % 24 for e in events],
                    range(24),
                    [(e["time"] // DAY + 3) % 7 for e in events],
                    range(7),
                ),
                31,
            )
        )
        services, actions = self.vocabularies["services"], self.vocabularies["actions"]
        found.append(
            (
                self.shares([e["service"] for e in events], services, [e["action"] for e in events], actions),
                len(services) + len(actions),
            )
        )
        if self.layout.get("regularity"):
            found.append((self.regularity(events, as_of), 44))
            for name, values in (("action", actions), ("service", services)):
                if len(values) > 1:
                    found.append((self.per_code(events, as_of, name, values), 4 * len(values)))
        tenure = [log((as_of - user["created_time"]) / DAY)] if visible and user["created_time"] is not None else None
        found.append((tenure, 1))
        return found + self.fields(user, visible)

    def fields(self, user: dict[str, Any], visible: bool) -> list[tuple[list[float] | None, int]]:
        found: list[tuple[list[float] | None, int]] = []
        kinds = {
            f["name"]: (f["kind"], f in self.schema["profile"]) for f in (*self.schema["profile"], *self.schema["team"])
        }

        def value(name: str) -> Any:
            return user[name] if visible or not kinds[name][1] else None

        for name, _ in self.layout["categories"]:
            known = self.vocabularies["categories"][name]
            found.append(([float(known.index(value(name)))] if value(name) in known else None, 1))
        for name in self.layout["numbers"]:
            found.append((None if value(name) is None else [value(name), log(value(name))], 2))
        for name, length in self.layout["vectors"]:
            found.append((value(name), length))
        return found

    def pooled(self, modality: str, keys: list[tuple[str, str]]) -> list[float] | None:
        vectors = [self.vectors[modality][key] for key in keys if key in self.vectors[modality]]
        size = math.sqrt(len(vectors)) if self.layout.get("pooling") == "root" else len(vectors)
        return list(np.sum(vectors, axis=0) / size) if vectors else None

    def latest(self, modality: str, events: list[dict[str, Any]]) -> list[float] | None:
        known = [e for e in events if (e["service"], e["item"]) in self.items]
        total, size = np.zeros(0), 0.0
        for event in known:
            vector = self.vectors[modality].get((event["service"], event["item"]))
            after = len({other["time"] for other in known if other["time"] > event["time"]})
            weight = self.layout["latest_decay"] ** after
            if vector is not None and weight > 2**-24:
                total, size = (total if size else np.zeros(len(vector))) + weight * vector, size + weight
        root = self.layout.get("pooling") == "root"
        return list(total / (math.sqrt(size) if root else size)) if size else None

    def regularity(self, events: list[dict[str, Any]], as_of: int) -> list[float] | None:
        if not events:
            return None
        newest_of_day: dict[int, int] = {}
        for event in events:
            newest_of_day[event["time"] // DAY] = event["time"]
        ages = [(as_of - time) / DAY for _, time in sorted(newest_of_day.items())]
        found = [float(sum(int(age // 30) == span for age in ages)) for span in range(24)]
        gaps = [before - after for before, after in pairwise(ages)]
        mean = sum(gaps) / len(gaps) if gaps else 0.0
        deviation = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) if gaps else 0.0
        found += [mean, deviation, max(gaps, default=0.0), gaps[-1] if gaps else 0.0]
        found += [ages[-1] / max(mean, 1.0) if gaps else 0.0, len(events) / len(ages)]
        every = [((as_of - e["time"]) / DAY, e["weight"]) for e in events]
        found += [sum(0.5 ** (age / days) for age, _ in every) for days in (7, 14, 30, 90, 180, 365)]
        found += [sum(weight * 0.5 ** (age / days) for age, weight in every) for days in (7, 14, 30, 90, 180, 365)]
        found += [float(sum(end < age <= 365 for age, _ in every)) for end in (335, 275)]
        return [log(value) for value in found]

    def per_code(self, events: list[dict[str, Any]], as_of: int, name: str, values: list[str]) -> list[float] | None:
        if not events:
            return None
        of = [[((as_of - e["time"]) / DAY, e["weight"]) for e in events if e[name] == value] for value in values]
        found = [min((age for age, _ in mine), default=0.0) for mine in of]
        found += [float(len(mine)) for mine in of]
        found += [sum(0.5 ** (age / 90) for age, _ in mine) for mine in of]
        found += [sum(weight for _, weight in mine) for mine in of]
        return [log(value) for value in found]

    def recency(self, events: list[dict[str, Any]], as_of: int) -> list[float] | None:
        ages = [(as_of - e["time"]) / DAY for e in events]
        return [log(min(ages)), log(max(ages))] if ages else None

    def activity(self, events: list[dict[str, Any]], as_of: int, windows: list[int]) -> list[float] | None:
        inside = [[e for e in events if as_of - window <= e["time"]] for window in windows] + [events]
        counts = [
            [len(part) for part in inside],
            [len({e["time"] // DAY for e in part}) for part in inside],
            [len({(e["service"], e["item"]) for e in part}) for part in inside],
            [sum(e["weight"] for e in part) for part in inside],
        ]
        return [log(value) for row in counts for value in row] if events else None

    def shares(self, first: list[Any], first_values: Any, second: list[Any], second_values: Any) -> list[float] | None:
        if not first:
            return None
        found = []
        for given, values in ((first, first_values), (second, second_values)):
            known = [value for value in given if value in values]
            found += [known.count(value) / max(len(known), 1) for value in values]
        return found

    def linear(self, blocks: list[tuple[list[float] | None, int]], events: int) -> np.ndarray:
        """The vector of the family `forecast`."""
        w = {name: tensor.astype(np.float64) for name, tensor in self.weights.items()}
        categories = {
            len(blocks) - self.after_categories() + k: name for k, (name, _) in enumerate(self.layout["categories"])
        }
        x: list[float] = []
        start = 0
        for place, (values, width) in enumerate(blocks):
            if place in categories:
                size = len(self.vocabularies["categories"][categories[place]])
                shares = w["code_shares"][len(x) : len(x) + size]
                x += [0.0] * size if values is None else list(np.eye(size)[int(values[0])] - shares)
            elif values is None:
                x += [0.0] * width
            else:
                columns = slice(start, start + width)
                x += list(np.clip((np.array(values) - w["row_mean"][columns]) / w["row_scale"][columns], -8, 8))
            start += width
        share = w["cold_events"][0] / (w["cold_events"][0] + events)
        found: np.ndarray = x @ w["known"] - w["middle"] + share * (x @ w["cold"])
        return found

    def network(self, blocks: list[tuple[list[float] | None, int]]) -> np.ndarray:
        w, start = {name: tensor.astype(np.float64) for name, tensor in self.weights.items()}, 0
        dense, embedded = [], []
        categories = {len(blocks) - self.after_categories() + k: k for k in range(len(self.layout["categories"]))}
        for place, (values, width) in enumerate(blocks):
            if place in categories:
                code = 0 if values is None else int(values[0]) + 1
                embedded.append(w[f"embeddings.{categories[place]}.weight"][code])
            elif values is None:
                dense.append(np.zeros(width))
            else:
                columns = slice(start, start + width)
                standard = (np.array(values) - w["row_mean"][columns]) / w["row_scale"][columns]
                dense.append(np.clip(standard, -8, 8) * self.gain(width, blocks, set(categories)))
            start += width
        x = np.concatenate([*dense, *embedded, [float(values is not None) for values, _ in blocks]])
        hidden, layer = x, 0
        while f"encoder.{layer}.weight" in w:
            hidden = w[f"encoder.{layer}.weight"] @ hidden + w[f"encoder.{layer}.bias"]
            layer += 2
            if f"encoder.{layer}.weight" in w:
                hidden = 1.0507009873554805 * np.where(hidden > 0, hidden, 1.6732632423543772 * np.expm1(hidden))
        z = hidden + w["encoder_shortcut.weight"] @ x + w["encoder_shortcut.bias"]
        return (z - w["z_mean"]) / w["z_scale"]

    def after_categories(self) -> int:
        return len(self.layout["categories"]) + len(self.layout["numbers"]) + len(self.layout["vectors"])

    def gain(self, width: int, blocks: list[tuple[Any, int]], categories: set[int]) -> float:
        widths = [width for place, (_, width) in enumerate(blocks) if place not in categories]
        return math.sqrt(1 / width / (len(widths) / sum(widths)))
