"""Users who train, who are for choosing, and who are measured: by a hash of the id, the same in every run."""

from enum import StrEnum
from hashlib import blake2b


class Part(StrEnum):
    """Whose users are whose: by a hash of the id, so that it is the same in every run and at every version."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


def part_of(user_id: str) -> Part:
    """Three users of five train, one is for choosing, one for measuring."""
    draw = blake2b(user_id.encode(), digest_size=8, salt=b"services").digest()
    share = int.from_bytes(draw, "little") / 2**64
    return Part.TRAIN if share < 0.6 else Part.VALIDATION if share < 0.8 else Part.TEST
