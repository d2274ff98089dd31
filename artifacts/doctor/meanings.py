"""Everything that the doctor can find: how bad it is, what it means, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from schemas.health import Level

REPAIR = "`threeloops doctor --repair`"
NO_COPY = "there is no whole copy here; "
AGAIN = "run it again with the same options, which makes the same table, or put back a copy"
RESTORE = "put back what was registered, or delete the version on MLflow's page and learn again"


@dataclass(frozen=True)
class Meaning:
    """What every finding of one name has in common.

    `left` is the advice where a repair has been tried and could not help.
    """

    level: Level
    means: str
    advice: str
    left: str = ""


def _damage(means: str, advice: str, left: str = "") -> Meaning:
    return Meaning("damage", means, advice, left)


def _remark(means: str, advice: str, left: str = "") -> Meaning:
    return Meaning("remark", means, advice, left)


MEANINGS: Mapping[str, Meaning] = {
    # the folder itself
    "stands-in-the-way": _damage(
        "every command refuses the data folder", f"{REPAIR} moves it into set-aside/"
    ),
    "no-folder": _damage(
        "no command can use or make the data folder",
        "move it away, or set THREELOOPS_HOME to a folder that you can write to",
    ),
    "not-writable": _damage(
        "no command can keep a result", "give yourself the right to write there (chmod u+rwx)"
    ),
    "open-to-others": _remark(
        "other users may read it once they get into the data folder",
        f"{REPAIR} takes that right away (0700, 0600)",
    ),
    # MLflow's database
    "damaged-database": _damage(
        "no run is listed and every command refuses; what is in the other files is not touched",
        f"put back a copy of it; or {REPAIR} sets it aside and the next command makes a new one, "
        "without the runs that only this one lists",
    ),
    "missing-database": _damage(
        "every command refuses, as a new one would not list the stored runs",
        "put back a copy of mlflow.db, or make an empty file there to go on without these runs",
    ),
    "unlisted-runs": _remark(
        "files of runs that the database does not have, so that no command shows them: another "
        "database was there when they were made",
        "put back the mlflow.db that lists them (a repair may have moved it into set-aside/)",
    ),
    "newer-database": _damage(
        "this installation cannot read it",
        "install the version of threeloops that wrote it, or a newer one",
    ),
    "older-database": _remark(
        "the next command brings it up to date as a copy, and keeps this one", "nothing to do"
    ),
    "half-made-database": _remark(
        "a command was killed while it made it; nothing is in it", f"{REPAIR} sets it aside"
    ),
    "moved-folder": _remark(
        "the database has the addresses of the former place; the next command corrects them",
        "nothing to do",
    ),
    "database-in-use": _remark(
        "another command writes to it, so it was not checked", "ask again when that has ended"
    ),
    "damaged-prefect-database": _damage(
        "commands that start a flow fail; no measurement is in it, only the list of flow runs",
        f"{REPAIR} sets it aside, and the next command makes a new one",
    ),
    # tables and keys
    "changed-table": _damage(
        "what was measured with it cannot be shown, compared or promoted",
        f"{REPAIR} puts a whole copy in its place, or sets it aside; if there is no copy, {AGAIN}",
        NO_COPY + AGAIN,
    ),
    "missing-table": _damage(
        "what was measured with it cannot be shown, compared or promoted",
        f"{REPAIR} puts a whole copy in its place; if there is none, {AGAIN}",
        NO_COPY + AGAIN,
    ),
    "damaged-key": _damage(
        "the result behind it is not found, and is computed anew",
        f"{REPAIR} sets it aside and writes it again from its table",
    ),
    "wrong-key": _damage(
        "it leads to another result than the one asked for; commands notice and compute anew",
        f"{REPAIR} sets it aside and writes it again from its table",
    ),
    "key-to-nothing": _remark(
        "the table behind it is gone, so its result is computed anew",
        f"{REPAIR} sets the key aside",
    ),
    "unreadable-file": _damage(
        "the disk or the file system does not give it back",
        "look at the disk's health and at the file's rights; put back a copy",
    ),
    # runs and decisions
    "dead-run": _remark(
        "its process was ended from outside; it is listed as running",
        f"the next command closes it, or {REPAIR} does; `learn --resume RUN` goes on with a "
        "learning run that has a checkpoint",
    ),
    "run-without-owner": _remark(
        "an earlier version wrote it and did not note which process it is",
        "if nothing runs, end it on MLflow's page",
    ),
    "missing-result": _damage("`show` and reports lack its numbers", AGAIN),
    "damaged-result": _damage("`show` refuses the run", AGAIN),
    "result-of-another-version": _remark(
        "this version cannot show it", "use the version of threeloops that wrote it"
    ),
    "damaged-configuration": _damage(
        "how it was made is not known any more, so it is not resumed, and the gate does not use it",
        AGAIN,
    ),
    "changed-template": _damage(
        "who reads it, or measures with it, has another template than the model was shown",
        f"{REPAIR} sets it aside and writes it again from the run's configuration",
    ),
    "changed-copy": _damage(
        "a copy of a table among MLflow's artifacts is not the table; comparing refuses it",
        f"{REPAIR} sets it aside and copies the table again",
    ),
    "damaged-decision": _damage(
        "`show` refuses the decision", "ask the gate again with `threeloops promote`"
    ),
    "decision-about-nothing": _remark(
        "the version that it is about was deleted", "nothing to do; the decision stays listed"
    ),
    "champion-without-decision": _remark(
        "the alias was not given by the gate, or was moved since", "`threeloops promote` decides"
    ),
    "alias-to-nothing": _damage(
        "whoever asks for the alias gets an error",
        "promote another version, or delete the alias on MLflow's page",
    ),
    # models, versions, checkpoints
    "changed-version": _damage(
        "the version is refused everywhere: its weights are not those that were measured",
        f"{REPAIR} puts a whole copy of the file in its place, or sets it aside; else {RESTORE}",
        NO_COPY + RESTORE,
    ),
    "missing-version": _damage(
        "the version is refused everywhere: files that were registered are gone",
        f"{REPAIR} puts a whole copy in their place; else {RESTORE}",
        NO_COPY + RESTORE,
    ),
    "version-without-run": _remark(
        "nothing says what it was trained on, so the gate refuses it",
        "restore the run on MLflow's page, or learn again",
    ),
    "version-without-digest": _remark(
        "an earlier version registered it; whether its files have changed is not known",
        "nothing to do; versions that are registered from now on have digests",
    ),
    "changed-model": _damage(
        "the stored model is not the one that was made or fetched; what it measures is another's",
        f"{REPAIR} sets the folder aside; its next use makes or fetches it again",
    ),
    "unusable-model": _damage(
        "files of the stored model are missing, and commands that name it fail",
        f"{REPAIR} sets the folder aside; its next use makes or fetches it again",
    ),
    "damaged-checkpoint": _damage(
        "`learn --resume` passes over it and goes on from the one before, if there is one",
        f"{REPAIR} sets it aside",
    ),
    "checkpoint-without-digests": _remark(
        "an earlier version wrote it; whether its files have changed is not known", "nothing to do"
    ),
    "checkpoint-of-no-run": _remark(
        "no run can go on from it, and it takes space", f"{REPAIR} sets it aside"
    ),
    # the store that machines share
    "store-unusable": _damage(
        "commands refuse while THREELOOPS_STORE names it; what it has was not looked at",
        "put right what it says, or unset THREELOOPS_STORE to use what is in this data folder",
    ),
    "not-in-store": _remark(
        "it was made without the shared store, or could not be sent: other machines do not have it",
        f"{REPAIR} sends it",
        "send it with another repair, or leave it: this machine has it",
    ),
    "damaged-in-store": _damage(
        "`learn --resume` passes over it and goes on from the one before, if there is one",
        "nothing to do; the run's next checkpoint takes its place",
    ),
    "dead-lease": _remark(
        "who needs it waits about a minute, and then has it; runs of that process are closed by "
        "the next command",
        "nothing to do",
    ),
    # what a server was not told
    "unsent": _remark(
        "a server was away, so its pages lack this; nothing is lost, and the gate waits for it",
        "the next command that uses this server sends it, or `threeloops sync`",
    ),
    "damaged-unsent": _damage(
        "what is kept here for a server is not sent, and the gate does not decide before it is",
        f"put back a copy of it; or {REPAIR} sets it aside, and the server never gets it",
    ),
    "refused-unsent": _damage(
        "MLflow does not take the next record of this file, so the rest of it waits, and the gate",
        f"put right what it says, and run `threeloops sync`; or {REPAIR} sets the file aside, and "
        "MLflow never gets it",
    ),
    # what killed processes left
    "half-written-file": _remark(
        "a command was killed while it wrote it; it is never read", f"{REPAIR} sets it aside"
    ),
    "half-made-folder": _remark(
        "a command was killed while it made it; it is never read", f"{REPAIR} sets it aside"
    ),
    "former-folder": _damage(
        "a command was killed between two renames, and the folder is missing in its place",
        f"{REPAIR} renames it back",
    ),
    "orphaned-server": _remark(
        "the Prefect server of a command that was killed still runs",
        f"the next command ends it, or {REPAIR} does",
    ),
    "orphaned-up": _remark(
        "`threeloops up` was killed and its servers still hold the data folder, so no new one "
        "starts",
        f"{REPAIR} ends them",
    ),
    "dead-up-file": _remark(
        "no `threeloops up` runs; commands ask at its address and then go on without",
        f"{REPAIR} sets the file aside",
    ),
    "stopped-process": _remark(
        "a process that was stopped (Ctrl-Z, SIGSTOP) holds a lock, and others wait for it",
        "let it go on with `kill -CONT`, or end it",
    ),
    # the machine
    "python-version": _remark("it was not tested with this Python", "see docs/installing.md"),
    "other-package": _remark(
        "results may differ, or commands fail in ways that were not tested",
        "install requirements.lock into a fresh environment (make setup)",
    ),
    "missing-package": _damage(
        "commands that need it fail",
        "install requirements.lock into a fresh environment (make setup)",
    ),
    "little-space": _remark(
        "a run may end with a full disk; it can be resumed after that", "make room"
    ),
    "taken-port": _remark(
        "`threeloops up` cannot listen there",
        "stop that program, or give `up` another port with --prefect-port or --mlflow-port",
    ),
}
