"""The split of users into training, validation and test, by a hash of the id."""

from enum import StrEnum
from hashlib import blake2b


class UserPart(StrEnum):
    """A part of the users; the same users are in it in every run and at every version."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


def part_of(user_id: str) -> UserPart:
    """The part of a user: three users of five train, one validates, one tests."""
    draw = blake2b(user_id.encode(), digest_size=8, salt=b"services").digest()
    share = int.from_bytes(draw, "little") / 2**64
    return UserPart.TRAIN if share < 0.6 else UserPart.VALIDATION if share < 0.8 else UserPart.TEST
