"""Several processes as one group: what they say, gather and add up, and who has gone.

`torch.distributed` does the work, over gloo on CPUs and NCCL between GPUs. Rank 0 leads: it tells
the others what to do, and they do it. Nothing that is received is unpickled.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as untyped
from torch import Tensor

from policy.parallel.place import Place
from policy.parallel.told import packed, unpacked
from policy.parallel.watch import Watch
from schemas.errors import ThreeLoopsError

dist: Any = untyped  # some of its functions have no types
# the watch finds who is lost; until then, others may be at work for as long as they need
PATIENCE = timedelta(days=7)
BUCKET_NUMBERS = 2**25  # added up at a time: 128 MiB in float32
SHORTEST_PAUSE, LONGEST_PAUSE = 1e-5, 5e-3  # seconds between looks at what is under way
DONE, FAILED = b"\0", b"\1"  # how an answer begins


class GivenUpError(Exception):
    """Some process could not do its part, so nobody goes on with this piece of work."""


class Group:
    """This process among those that learn together; `numerics` say for each rank what it computes
    with.
    """

    def __init__(self, place: Place, watch: Watch, numerics: Sequence[str]) -> None:
        self.place, self.watch, self.numerics = place, watch, numerics

    @property
    def leads(self) -> bool:
        """Whether this is rank 0."""
        return self.place.leads

    @property
    def size(self) -> int:
        """How many processes there are."""
        return self.place.size

    @property
    def rank(self) -> int:
        """Which of them this one is."""
        return self.place.rank

    def processes_on(self, device: torch.device) -> int:
        """How many of them share the memory of this process's device; a GPU has one."""
        return self.place.local_size if device.type == "cpu" else 1

    def share(self, count: int, rank: int | None = None) -> range:
        """Which of `count` things in a row are a process's: their numbers differ by 1 at most."""
        rank = self.rank if rank is None else rank
        least, more = divmod(count, self.size)
        first = rank * least + min(rank, more)
        return range(first, first + least + (rank < more))

    def tell(self, message: Mapping[str, Any]) -> None:
        """Send a message, which JSON can hold, to all others; for rank 0."""
        content = json.dumps(message).encode()
        self._wait(dist.broadcast(torch.tensor([len(content)]), src=0, async_op=True))
        self._wait(dist.broadcast(_tensor(content), src=0, async_op=True))

    def hear(self) -> Any:
        """Wait for the next message of rank 0; raises what `Watch.error` is, if that comes."""
        length = torch.zeros(1, dtype=torch.int64)
        self._wait(dist.broadcast(length, src=0, async_op=True))
        content = torch.empty(int(length), dtype=torch.uint8)
        self._wait(dist.broadcast(content, src=0, async_op=True))
        return json.loads(content.numpy().tobytes())

    def gather(self, mine: bytes) -> list[bytes]:
        """What each process gives, in the order of ranks, on rank 0; nothing on the others."""
        lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        own = torch.tensor([len(mine)])
        self._wait(dist.all_gather(lengths, own, async_op=True))
        longest = max(int(length) for length in lengths)
        padded = _tensor(mine.ljust(longest, b"\0"))
        found = [torch.empty(longest, dtype=torch.uint8) for _ in lengths] if self.leads else None
        self._wait(dist.gather(padded, found, dst=0, async_op=True))
        return [
            given.numpy().tobytes()[: int(length)]
            for given, length in zip(found or [], lengths, strict=False)
        ]

    def together(self, work: Callable[[], bytes], *, divided: bool = False) -> list[bytes]:
        """Let every process do its part; what each made is on rank 0, as from `gather`.

        An error of one process is one for all: rank 0 raises it, and the others raise GivenUpError
        and can be told something else. Where the parts themselves wait for each other, `divided`,
        an error ends the group, for nobody knows where the others are.
        """
        mine, error = DONE, None
        try:
            mine += work()
        except Exception as caught:
            if divided:
                raise
            mine, error = FAILED + packed(caught, self.watch.name).encode(), caught
        answers = self.gather(mine)
        if self.leads:
            failed = [rank for rank, answer in enumerate(answers) if answer[:1] == FAILED]
            self.tell({"failed": failed})
            if error is not None:
                raise error
            if failed:
                raise unpacked(answers[failed[0]][1:].decode())
            return [answer[1:] for answer in answers]
        failed = self.hear()["failed"]
        if error is not None and not isinstance(error, ThreeLoopsError):
            raise error  # a defect, whose details this process keeps
        if failed:
            raise GivenUpError
        return []

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor, in place, by its sum over all processes; the same bytes on each."""
        for bucket in _buckets(tensors):
            flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
            self._wait(dist.all_reduce(flat, async_op=True))
            parts = torch.split(flat, [tensor.numel() for tensor in bucket])
            for tensor, part in zip(bucket, parts, strict=True):
                tensor.copy_(part.view_as(tensor))

    def highest(self, numbers: Sequence[int]) -> list[int]:
        """The highest of each number over all processes."""
        held = torch.tensor(list(numbers))
        self._wait(dist.all_reduce(held, op=dist.ReduceOp.MAX, async_op=True))
        return [int(number) for number in held]

    def spread(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor, in place, by that of rank 0."""
        for tensor in tensors:
            whole = tensor.contiguous()
            self._wait(dist.broadcast(whole, src=0, async_op=True))
            if whole is not tensor:
                tensor.copy_(whole)

    def _wait(self, work: Any) -> None:
        """Wait for what is under way, as long as nobody is lost; Ctrl-C is heard meanwhile."""
        pause = SHORTEST_PAUSE
        while not work.is_completed():
            self.watch.refuse_lost()
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        try:
            work.wait()
        except RuntimeError as broken:  # the other end was closed
            raise self.watch.find_lost(broken) from None


def _tensor(content: bytes) -> Tensor:
    return torch.frombuffer(bytearray(content or b"\0"), dtype=torch.uint8)[: len(content)]


def _buckets(tensors: Sequence[Tensor]) -> list[list[Tensor]]:
    """The tensors, in order, in parts that are copied together."""
    buckets: list[list[Tensor]] = []
    numbers = 0
    for tensor in tensors:
        if not buckets or numbers + tensor.numel() > BUCKET_NUMBERS:
            buckets.append([])
            numbers = 0
        buckets[-1].append(tensor)
        numbers += tensor.numel()
    return buckets
