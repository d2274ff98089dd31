"""How several processes become a group: they meet, are compared, and watch each other from then on.

This, `group` and `sharding` use `torch.distributed`; a process that is alone imports none of them.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import platform
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as untyped

from policy.model.load import resolve_device
from policy.model.numerics import numerics
from policy.parallel.group import PATIENCE, Group
from policy.parallel.place import Place
from policy.parallel.watch import EndedError, Watch
from schemas.errors import InputError, first_line

dist: Any = untyped  # some of its functions have no types
JOIN_SECONDS = 180.0  # until all have started, which the slowest file system decides
LONGEST_SHOWN = 60  # characters of a value that differs


@contextlib.contextmanager
def joined(
    place: Place, device: str, identity: Mapping[str, str], stderr: int = 2
) -> Iterator[Group]:
    """Within the block, this process is one of a group.

    `identity` is what must be equal in all of them, by name. Where they differ, or where one cannot
    take part, rank 0 raises InputError and the others EndedError. All compute on the kind of device
    that rank 0 names, and each GPU serves one process.
    """
    store = _met(place)
    if place.leads:
        store.set("device", device)
    device = store.get("device").decode()
    hello = {"host": platform.node(), "process": os.getpid(), **_of_device(place, device)}
    hellos = _compared(store, place, {**hello, "identity": {**identity}})
    names = [
        f"rank {rank} (process {one['process']} on {one['host']})"
        for rank, one in enumerate(hellos)
    ]
    on_gpu = hello["kind"] == "cuda"
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if on_gpu else "gloo",
        store=dist.PrefixStore("group", store),
        rank=place.rank,
        world_size=place.size,
        timeout=PATIENCE,
    )
    watch = Watch(store, place, names, stderr)
    atexit.register(_leave, watch)
    try:
        yield Group(place, watch, names, [one["numerics"] for one in hellos])
    finally:
        watch.close()
        if watch.error is None:
            dist.destroy_process_group()


def _leave(watch: Watch) -> None:
    """Leave without waiting for what is under way with a process that is lost or has ended."""
    if watch.error is not None:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(1 if watch.lost else 0)


def _met(place: Place) -> Any:
    """The store in which the processes write what they say before they are a group."""
    address = os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"]
    try:
        store, _, _ = next(
            dist.rendezvous(
                "env://", place.rank, place.size, timeout=timedelta(seconds=JOIN_SECONDS)
            )
        )
    except (RuntimeError, ValueError, OSError) as error:
        raise InputError(
            f"{place.size} processes were to meet there within {JOIN_SECONDS:.0f} seconds, and did "
            f"not ({first_line(error)})",
            "MASTER_ADDR={} MASTER_PORT={}".format(*address),
            "see that the port is free, that each host reaches it, and that all were started",
        ) from None
    return dist.PrefixStore("threeloops", store)


def _of_device(place: Place, device: str) -> dict[str, str]:
    """What this process will compute with, or why it cannot."""
    try:
        kind = resolve_device(device).type
        if kind == "cuda":
            gpus = torch.cuda.device_count()
            if place.local_rank >= gpus:
                raise InputError(
                    f"its host has {gpus} GPUs for {place.local_size} processes",
                    remedy="start one process for each GPU",
                )
            torch.cuda.set_device(place.local_rank)
        return {"kind": kind, "numerics": numerics(device)}
    except InputError as error:
        return {"kind": "none", "numerics": "", "fault": str(error)}


def _compared(store: Any, place: Place, hello: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What all say of themselves, by rank, where they can work together."""
    store.set(f"hello/{place.rank}", json.dumps(hello))
    store.set_timeout(timedelta(seconds=JOIN_SECONDS))
    try:
        hellos = [json.loads(store.get(f"hello/{rank}")) for rank in range(place.size)]
        if place.leads:
            fault = _fault(hellos)
            store.set("fault", json.dumps(fault))
            if fault is not None:
                _wait_for_others(store, place)
                raise InputError(*fault)
            return hellos
        said = json.loads(store.get("fault"))
    except (RuntimeError, ValueError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise InputError(
            f"the processes met, and then one of them ended ({reason})",
            f"rank {place.rank}",
            "see what the others say",
        ) from None
    store.add("heard", 1)
    if said is not None:
        raise EndedError
    return hellos


def _wait_for_others(store: Any, place: Place) -> None:
    """Let the others hear what rank 0 found, before its store ends with it."""
    until = time.monotonic() + 5
    while store.add("heard", 0) < place.size - 1 and time.monotonic() < until:
        time.sleep(0.05)


def _fault(hellos: list[dict[str, Any]]) -> tuple[str, str, str] | None:
    """Why these processes cannot work together: what, where and what to do; None where they can."""
    first = hellos[0]
    for rank, one in enumerate(hellos):
        where = f"rank {rank} on {one['host']}"
        if "fault" in one:
            return one["fault"], where, "see --device"
        compared = {"kind of device": (one["kind"], first["kind"])} | {
            name: (one["identity"].get(name, "not given"), first["identity"].get(name, "not given"))
            for name in sorted(one["identity"] | first["identity"])
        }
        for name, (other, ours) in compared.items():
            if other != ours:
                return (
                    f"has another {name} ({other[:LONGEST_SHOWN]}) than rank 0 "
                    f"({ours[:LONGEST_SHOWN]})",
                    where,
                    "start every rank with the same command, code and packages",
                )
    return None
