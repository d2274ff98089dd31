"""The servers that one process asks: who they are, and completions by them."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Awaitable, Callable, Collection, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pyarrow as pa

from artifacts.store.policy_folders import PolicyFolders
from engines.openai_server.adapters import (
    base_model,
    check_loads_adapters,
    load_adapter,
    unload_adapter,
)
from engines.openai_server.answers import Answered, Reading, read_answer
from engines.openai_server.asking import Asking
from engines.openai_server.client import address_of, ask_server
from engines.openai_server.probe import QUESTION, Found, probe
from engines.openai_server.prompts import Prompts
from engines.openai_server.request import Wanted, body_of, requests_of
from policy.model.load import check_folder
from schemas.completions import COMPLETIONS
from schemas.config import GenerationSettings
from schemas.engine import NOT_KNOWN, EngineRecord
from schemas.errors import InputError, StoreError
from schemas.identity import digest_of
from schemas.references import PolicyRef
from schemas.server import ServerSettings


class Servers:
    """Asks servers; the tokenizers that it has loaded for them stay in memory."""

    def __init__(self, folders: PolicyFolders) -> None:
        self._folders = folders
        self._policies: dict[tuple[str, GenerationSettings], PolicyRef] = {}
        self._prompts: dict[tuple[str | None, bool], Prompts] = {}
        self._adapters: dict[str, str] = {}  # names at the server, by the policy's digest
        self._under_way: set[Future[Any]] = set()

    def policy(self, model: str, settings: GenerationSettings) -> PolicyRef:
        """The policy that a server holds, after the server has answered a few tokens.

        Raises InputError where nobody answers, another model does, or the answers cannot be used.
        """
        server = _of(settings)
        address_of(server)  # refuses what has none before a tokenizer is loaded
        prompts = self._prompts_for(server)
        (prompt,) = prompts.render(settings.template, [QUESTION])
        found = ask_server(server, lambda asking: probe(asking, model, prompt, settings))
        digest = self._model_digest(server, found)
        engine = EngineRecord(
            kind="openai_server",
            name=found.name,
            version=found.version,
            dtype=found.dtype,
            model_digest=digest,
            answers_as=found.answers_as,
            prompts=prompts.form,
            tokenizer=prompts.digest,
            gives=found.gives,
        )
        of_name = digest_of(["a server's model, known by its name", model])
        known = digest != NOT_KNOWN
        policy = PolicyRef(name=model, digest=digest if known else of_name, engine=engine)
        self._policies[model, settings] = policy
        return policy

    def known_policy(self, model: str, settings: GenerationSettings) -> PolicyRef:
        """As `policy`, without asking again what was asked for the same settings."""
        return self._policies.get((model, settings)) or self.policy(model, settings)

    def for_steps(
        self, start: PolicyRef, settings: GenerationSettings, served: str | None
    ) -> PolicyRef:
        """The model of a server that has what learning starts from, and loads adapters beside it.

        Its name is the server's. Raises InputError where the server cannot sample steps.
        """
        server = _of(settings)
        found = self.known_policy(served or base_model(server), settings)
        assert found.engine is not None
        if found.engine.gives == "text":
            raise InputError(
                "the server gives text alone, and learning is checked by log-probabilities",
                "--base-url",
                "sample by a server that gives token ids and log-probabilities, as vLLM does",
            )
        if found.engine.model_digest not in (NOT_KNOWN, start.digest):
            raise InputError(
                f"the server has another model than {start.name}, which learning starts from",
                f"--served-model {found.name}",
                "serve the folder that --model names",
            )
        check_loads_adapters(server)
        return found

    def adapter_is_loaded(self, policy: PolicyRef) -> bool:
        """Whether the server has been given this policy; what it starts from it has itself."""
        return policy.step == 0 or policy.digest in self._adapters

    def load(self, policy: PolicyRef, server: ServerSettings, folder: Path) -> None:
        """Have the server load the adapter of this policy, under a name that is never used again.

        Raises InputError where it does not.
        """
        name = f"threeloops-step-{policy.step}-{uuid4().hex[:12]}"
        load_adapter(server, name, folder)
        self._adapters[policy.digest] = name

    def unload(self, server: ServerSettings, kept: Collection[str] = ()) -> None:
        """Have the server forget the adapters of policies that are not `kept`, by digest.

        One that does not answer loses them with its next start.
        """
        for digest in [known for known in self._adapters if known not in kept]:
            with contextlib.suppress(InputError):
                unload_adapter(server, self._adapters.pop(digest))

    def cancel(self) -> None:
        """End the requests that other threads have under way."""
        for work in list(self._under_way):
            work.cancel()

    def _note(self, work: Future[Any]) -> None:
        self._under_way.add(work)
        work.add_done_callback(self._under_way.discard)

    def complete(
        self,
        policy: PolicyRef,
        problems: pa.Table,
        settings: GenerationSettings,
        *,
        on_progress: Callable[[int], None],
    ) -> pa.Table:
        """The completions table of these problems, one request each.

        Raises InputError for the first answer that cannot be used; nothing is kept of the others.
        """
        server, engine = _of(settings), policy.engine
        assert engine is not None
        prompts = self._prompts_for(server)
        if (prompts.form, prompts.digest) != (engine.prompts, engine.tokenizer):
            raise StoreError(
                "this is not the tokenizer that the run began with",
                f"--tokenizer {server.tokenizer}",
                "put back what was there, or start again",
            )
        rendered = prompts.render(settings.template, problems["prompt"].to_pylist())
        ids = problems["problem_id"].to_pylist()
        wanted = [
            (identity, one)
            for identity, prompt in zip(ids, rendered, strict=True)
            for one in requests_of(prompt, identity, settings)
        ]
        if not self.adapter_is_loaded(policy):
            raise StoreError(
                f"the server was not given the policy after step {policy.step}",
                policy.name,
                "go on from the checkpoint with --resume",
            )
        adapter = self._adapters.get(policy.digest)
        name = adapter or policy.name
        reading = Reading(
            answers_as=adapter or engine.answers_as,
            with_tokens=engine.gives == "tokens",
            most_tokens=settings.sampling.max_new_tokens,
            greedy=settings.sampling.temperature == 0,
            tokenizer=prompts.tokenizer,
        )
        done = 0

        def job(one: Wanted, asking: Asking) -> Callable[[], Awaitable[list[Answered]]]:
            async def do() -> list[Answered]:
                nonlocal done
                body = body_of(name, one, settings.sampling, server)
                answered = read_answer(await asking.complete(body), one, reading)
                done += len(answered)
                asking.tell(done)
                return answered

            return do

        def work(asking: Asking) -> Awaitable[list[list[Answered]]]:
            return asking.all([job(one, asking) for _, one in wanted])

        answers = ask_server(server, work, on_progress, self._note)
        rows = [
            (identity, one.first + place, sample)
            for (identity, one), samples in zip(wanted, answers, strict=True)
            for place, sample in enumerate(samples)
        ]
        return _table(rows)

    def _prompts_for(self, server: ServerSettings) -> Prompts:
        key = (server.tokenizer, server.text_prompts)
        if key not in self._prompts:
            self._prompts[key] = Prompts(server)
        return self._prompts[key]

    def _model_digest(self, server: ServerSettings, found: Found) -> str:
        """The fingerprint of the folder that a server on this machine says it has loaded.

        Where a relative path begins is known to the server alone.
        """
        folder = Path(found.root)
        if not (folder.is_absolute() and _is_here(address_of(server))):
            return NOT_KNOWN
        try:
            check_folder(folder)
            return self._folders.digest(folder)
        except (InputError, OSError, ValueError):
            return NOT_KNOWN


def _of(settings: GenerationSettings) -> ServerSettings:
    assert settings.server is not None
    return settings.server


def _is_here(address: str) -> bool:
    host = urlsplit(address).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _table(rows: list[tuple[str, int, Answered]]) -> pa.Table:
    """Rows of problem, sample and answer as a completions table; what is not known is null."""
    return pa.table(
        {
            name: pa.array(values, COMPLETIONS.columns[name].type)
            for name, values in zip(COMPLETIONS.columns, _columns(rows), strict=True)
        }
    )


def _columns(rows: list[tuple[str, int, Answered]]) -> Iterator[list[object]]:
    samples = [sample for _, _, sample in rows]
    yield [identity for identity, _, _ in rows]
    yield [place for _, place, _ in rows]
    yield [sample.text for sample in samples]
    yield [sample.finish_reason for sample in samples]
    yield [None if one.token_ids is None else len(one.token_ids) for one in samples]
    yield [None if one.logprobs is None else min(0.0, sum(one.logprobs)) for one in samples]
    yield [sample.seed for sample in samples]
    yield [sample.token_ids for sample in samples]
    yield [sample.logprobs for sample in samples]
