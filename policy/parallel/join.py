"""How several processes become a group: they meet, watch each other from then on, are compared.

This, `group` and `sharding` use `torch.distributed`; a process that is alone imports none of them.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import platform
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as untyped

from policy.model.load import resolve_device
from policy.model.numerics import decided, numerics
from policy.parallel import watch as watching
from policy.parallel.group import PATIENCE, Group
from policy.parallel.place import Place
from policy.parallel.watch import EndedError, Watch, say_left, say_over
from schemas.config import Compute
from schemas.errors import InputError, RanksError, first_line

dist: Any = untyped  # some of its functions have no types
START_SECONDS = 180.0  # until all have started, which the slowest file system decides
LOOK_SECONDS = 0.05  # between looks at what another process is to say
LONGEST_SHOWN = 60  # characters of a value that differs


@contextlib.contextmanager
def joined(
    place: Place, compute: Compute, identity: Mapping[str, str], stderr: int = 2
) -> Iterator[Group]:
    """Within the block, this process is one of a group.

    `identity` is what must be equal in all of them, by name. Where they differ, or where one cannot
    take part, rank 0 raises InputError and the others EndedError. Where one is gone, RanksError is
    raised in the process that is to tell of it, and EndedError in the others. All compute on the
    kind of device that rank 0 names, in the precision that it has there, and each GPU serves one
    process.
    """
    store = _met(place, START_SECONDS)
    watch = Watch(store, place, START_SECONDS, stderr)
    atexit.register(_leave, watch)
    group = None
    try:
        group = _formed(store, watch, place, compute, identity)
        yield group
    except EndedError:
        raise
    except Exception as error:
        found = _raised(watch, place, error)
        if group is None and isinstance(found, RanksError):
            found = found.having("see that all are started, and run the same command again")
        raise found from None
    finally:
        watch.close()
        if watch.error is None and dist.is_initialized():
            dist.destroy_process_group()


def refuse(place: Place, error: Exception | None = None) -> None:
    """Let the others end too, without waiting for this process, which cannot take part.

    Rank 0 hears the error of another.
    """
    with contextlib.suppress(InputError, RuntimeError):
        store = _met(place, watching.FAULT_SECONDS)
        if error is None:
            say_over(store, place, watching.FAULT_SECONDS)
        else:
            say_left(store, place, error)


def _leave(watch: Watch) -> None:
    """Leave without waiting for what is under way with a process that is lost or has ended."""
    if watch.error is not None:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(watch.exit_code)


def _raised(watch: Watch, place: Place, error: Exception) -> Exception:
    """What ends this process; who has to know of it is told."""
    if type(error) is RuntimeError or isinstance(error, dist.DistError):
        error = watch.find_lost(error)
    if isinstance(error, EndedError):
        return error
    if isinstance(error, RanksError) or error is watch.error:
        return error if watch.is_first_to_say() or place.leads else EndedError()
    watch.leave(error)
    return error


def _met(place: Place, seconds: float) -> Any:
    """The store in which the processes write what they say before they are a group.

    It is there as soon as rank 0 is: who else has come, each process's watch sees.
    """
    address = os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"]
    try:
        store, _, _ = next(
            dist.rendezvous("env://", place.rank, 1, timeout=timedelta(seconds=seconds))
        )
    except (RuntimeError, ValueError, OSError) as error:
        raise InputError(
            f"{place.size} processes were to meet there within {seconds:.0f} seconds, and did "
            f"not ({first_line(error)})",
            "MASTER_ADDR={} MASTER_PORT={}".format(*address),
            "see that the port is free, that each host reaches it, and that all were started",
        ) from None
    return dist.PrefixStore("threeloops", store)


def _formed(
    store: Any, watch: Watch, place: Place, compute: Compute, identity: Mapping[str, str]
) -> Group:
    """The group, once all have said what they are, and fit."""
    watch.greet()
    if place.leads:
        store.set("compute", decided(compute).model_dump_json())
    compute = Compute(**_heard(store, watch, "compute"))
    watch.meet_leader()
    kind = resolve_device(compute.device).type
    hello = {
        "host": platform.node(),
        "kind": kind,
        "gpu": _own_gpu(place) if kind == "cuda" else "",
        "numerics": numerics(compute),
        "identity": {**identity},
    }
    hellos = _compared(store, watch, place, hello)
    _begin(store, watch, place, "cpu:gloo,cuda:nccl" if kind == "cuda" else "gloo")
    return Group(place, watch, [one["numerics"] for one in hellos])


def _heard(store: Any, watch: Watch, key: str) -> Any:
    """What another process says under a key, as long as nobody is lost."""
    while not store.check([key]):
        watch.refuse_lost()
        time.sleep(LOOK_SECONDS)
    return json.loads(store.get(key))


def _begin(store: Any, watch: Watch, place: Place, backend: str) -> None:
    """Connect the processes, as long as nobody is lost.

    torch waits where no signal is heard, so a thread does it, which is left alone where it is in
    vain.
    """
    failed: list[Exception] = []

    def connect() -> None:
        try:
            dist.init_process_group(
                backend,
                store=dist.PrefixStore("group", store),
                rank=place.rank,
                world_size=place.size,
                timeout=PATIENCE,
            )
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    while thread.is_alive():
        watch.refuse_lost()
        thread.join(LOOK_SECONDS)
    if failed:
        raise failed[0]


def _own_gpu(place: Place) -> str:
    """Take a GPU for this process. Its UUID tells whether another process has taken it too.

    Its index does not: CUDA_VISIBLE_DEVICES may show each process other GPUs, or one of its own.
    """
    index = place.local_rank % torch.cuda.device_count()
    torch.cuda.set_device(index)
    return str(torch.cuda.get_device_properties(index).uuid)


def _compared(
    store: Any, watch: Watch, place: Place, hello: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """What all say of themselves, by rank, where they can work together."""
    store.set(f"hello/{place.rank}", json.dumps(hello))
    if place.leads:
        hellos = [_heard(store, watch, f"hello/{rank}") for rank in range(place.size)]
        if fault := _fault(hellos):
            raise InputError(*fault)
        store.set("hellos", json.dumps(hellos))
    found: list[dict[str, Any]] = _heard(store, watch, "hellos")
    return found


def _fault(hellos: list[dict[str, Any]]) -> tuple[str, str, str] | None:
    """Why these processes cannot work together: what, where and what to do; None where they can."""
    first = hellos[0]
    owners: dict[str, int] = {}  # of GPUs
    for rank, one in enumerate(hellos):
        where = f"rank {rank} on {one['host']}"
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
        if one["gpu"] and (owner := owners.setdefault(one["gpu"], rank)) != rank:
            return (
                f"has the same GPU as rank {owner} (UUID {one['gpu']})",
                where,
                "start one process for each GPU of a host, and show each process all of them, or "
                "one of its own (CUDA_VISIBLE_DEVICES)",
            )
    return None
