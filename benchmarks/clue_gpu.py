"""Tokens a second and model FLOP utilisation of training steps on a GPU; imports only torch and the bare core.

`python -m benchmarks.clue_gpu 20m 125m --peak 989e12`: the peak is the card's dense bf16 rate in FLOP/s.
"""

import argparse
import time

import torch

from portrait.training.clue.batch import GAPS, Batch, Sequences
from portrait.training.clue.flops import step_flops
from portrait.training.clue.gradient_cache import step
from portrait.training.clue.model import Clue, Shape
from portrait.training.clue.objective import ObjectiveName, build
from portrait.training.clue.sizes import SIZES

VOCABULARY, TEXT_LENGTH, SEQUENCE_LENGTH, DIMENSION = 32_768, 32, 64, 120
ITEMS_PER_USER = 32  # distinct ones
STEPS, WARM_UP = 10, 3


def main() -> None:
    """Print a row a size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", default=["20m", "125m"], choices=list(SIZES))
    parser.add_argument("--peak", type=float, default=989e12, help="FLOP/s of the card in bf16 (H100 SXM: 989e12)")
    parser.add_argument("--chunk", type=int, default=0, help="tokens or events with graphs at once; 0: all")
    parser.add_argument("--batch", type=int, default=0, help="users of a step; 0: the size's own")
    given = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("there is no GPU here: run it where torch.cuda.is_available()")
    print("size  users  step ms  tokens/s  TFLOP/s  utilisation")
    for name in given.sizes:
        users = given.batch or SIZES[name].batch
        seconds, tokens, flops = measure(name, users, given.chunk or None)
        rate = flops / seconds
        print(
            f"{name}  {users}  {seconds * 1e3:.1f}  {tokens / seconds:,.0f}  {rate / 1e12:.1f}  {rate / given.peak:.1%}"
        )


def measure(name: str, users: int, chunk: int | None) -> tuple[float, int, int]:
    """Seconds, tokens and FLOPs of a step, on made-up full-length users."""
    shape = Shape.from_size(
        SIZES[name],
        vocabulary=VOCABULARY,
        text_length=TEXT_LENGTH,
        actions=8,
        sequence_length=SEQUENCE_LENGTH,
        dimension=DIMENSION,
    )
    model = Clue(shape).cuda()
    objective = build(ObjectiveName.CROSS_SERVICE, DIMENSION)
    optimiser = torch.optim.AdamW(model.parameters(), fused=True)
    batch = _batch(users)
    for turn in range(WARM_UP + STEPS):
        if turn == WARM_UP:
            torch.cuda.synchronize()
            started = time.perf_counter()
        optimiser.zero_grad()
        step(model, objective, batch, chunk, autocast=True)
        optimiser.step()
    torch.cuda.synchronize()
    seconds = (time.perf_counter() - started) / STEPS
    items = len(batch.tokens)
    flops = step_flops(shape, items, TEXT_LENGTH, 2 * users, SEQUENCE_LENGTH)
    return seconds, items * TEXT_LENGTH + 2 * users * SEQUENCE_LENGTH, flops


def _batch(users: int) -> Batch:
    items = users * ITEMS_PER_USER
    tokens = torch.randint(1, VOCABULARY, (items, TEXT_LENGTH), device="cuda")
    first, second = (
        Sequences(
            torch.randint(items, (users, SEQUENCE_LENGTH), device="cuda"),
            torch.randint(9, (users, SEQUENCE_LENGTH), device="cuda"),
            torch.randint(GAPS, (users, SEQUENCE_LENGTH), device="cuda"),
        )
        for _ in range(2)
    )
    return Batch(tokens, first, second)


if __name__ == "__main__":
    main()
