"""Planted secrets are nowhere that commands write to: folders, databases, buckets, logs, output.

Tables are in a real S3, runs on MLflow with Postgres, flows on Prefect's server, and answers come
from a model server that wants a key. Each of them is looked through.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from artifacts.tracking.named import TRACKING
from policy.model.tiny import make_tiny_model
from tests.canaries import found_in, told
from tests.faults.server import PrefectServer
from tests.model_servers.answers import by_model
from tests.model_servers.server import ModelServer, serving
from tests.postgres import PASSWORD
from tests.seaweed import BUCKET, OWNER, SeaweedServer

pytestmark = [pytest.mark.engines, pytest.mark.timeout(1800)]
ROOT = Path(__file__).parents[2]
CANARIES = {
    "AWS_SECRET_ACCESS_KEY": OWNER[1],
    "OPENAI_API_KEY": "sk-canary-of-the-model-server",
    "MLFLOW_TRACKING_USERNAME": "someone",
    "MLFLOW_TRACKING_PASSWORD": "canary-of-mlflow",
    "PREFECT_API_KEY": "canary-of-prefect",
    "HF_TOKEN": "canary-of-the-hub",
    "AZURE_STORAGE_ACCOUNT_KEY": "canary-of-azure",
}
SECRETS = [*(value for value in CANARIES.values() if "canary" in value), PASSWORD]
IN_ADDRESS = "canary-in-the-address-of-mlflow"
TOKEN = "canary-that-is-a-token-of-mlflow"
WRONG = "canary-that-is-wrong"  # in the place of a key that is right


@pytest.fixture
def tiny_server(tmp_path: Path) -> Iterator[tuple[ModelServer, Path]]:
    """A model server that wants the key, and the folder of its model."""
    pytest.importorskip("openai", reason="install threeloops[server]")
    folder = make_tiny_model(tmp_path / "tiny")
    answer = by_model(str(folder))
    with serving(ModelServer(answer, key=CANARIES["OPENAI_API_KEY"])) as server:
        yield server, folder


def rows_of(database: str) -> Iterator[tuple[str, bytes]]:
    """Every row of a Postgres, with the name of its table."""
    import psycopg2

    address = database.replace("postgresql+psycopg2:", "postgresql:")
    with psycopg2.connect(address) as connection, connection.cursor() as cursor:
        cursor.execute("select tablename from pg_tables where schemaname = 'public'")
        for (name,) in cursor.fetchall():
            cursor.execute(f'select t::text from "{name}" t')
            for (row,) in cursor.fetchall():
                yield name, str(row).encode()


def objects_of(weed: SeaweedServer) -> Iterator[tuple[str, bytes]]:
    """Every object of the bucket, with its name."""
    import boto3

    settings = weed.settings(OWNER)
    client = boto3.client(
        "s3",
        endpoint_url=weed.endpoint,
        region_name=settings["AWS_REGION"],
        aws_access_key_id=OWNER[0],
        aws_secret_access_key=OWNER[1],
    )
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
        for one in page.get("Contents", ()):
            yield one["Key"], client.get_object(Bucket=BUCKET, Key=one["Key"])["Body"].read()


def test_no_command_tells_a_secret_to_a_server_or_leaves_it_behind(
    bucket: str,
    weed: SeaweedServer,
    database: str,
    mlflow_server: str,
    mlflow_folder: Path,
    prefect: PrefectServer,
    tiny_server: tuple[ModelServer, Path],
    tmp_path: Path,
) -> None:
    server, tiny = tiny_server
    place = tmp_path / "place"
    for name in ("home", "user", "tmp", "here", "said"):
        (place / name).mkdir(parents=True)
    login = f"http://someone:{WRONG}@{server.url.removeprefix('http://')}"
    environment = (
        {name: v for name, v in os.environ.items() if not name.startswith("PREFECT_")}
        | weed.settings(OWNER)
        | CANARIES
        | {
            "THREELOOPS_STORE": bucket,
            TRACKING: mlflow_server,
            "MLFLOW_EXPERIMENT_NAME": bucket.rpartition("/")[2],
            "PREFECT_API_URL": prefect.url,
            "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)]),
            "THREELOOPS_HOME": str(place / "home"),
            "HOME": str(place / "user"),
            "TMPDIR": str(place / "tmp"),
        }
    )
    count = 0

    def command(*words: str, code: int, **other: str) -> str:
        nonlocal count
        done = subprocess.run(
            [sys.executable, "-m", "flows.cli", *words],
            env=environment | other,
            cwd=place / "here",
            capture_output=True,
            timeout=900,
            check=False,
        )
        assert done.returncode == code, (words, done.stderr.decode())
        count += 1
        (place / "said" / str(count)).write_bytes(done.stdout + done.stderr)
        return done.stdout.decode()

    small = ["--limit", "4", "--samples", "2", "--max-new-tokens", "4"]
    asked = ["eval", "--model", "tiny", "--base-url", server.url, "--tokenizer", str(tiny), *small]
    by_server = json.loads(command(*asked, "--json", code=0))
    command(
        "learn", "--model", str(tiny), "--steps", "1", "--problems-per-step", "2", *small,
        "--evaluation-samples", "2", "--dev-every", "0", code=0,
    )  # fmt: skip
    command("show", by_server["run_id"], code=0)
    with_login = mlflow_server.replace("://", f"://someone:{IN_ADDRESS}@")
    command(*asked, "--seed", "4", code=0, **{TRACKING: with_login})
    command("runs", code=0, **{TRACKING: with_login})
    no_login = {"MLFLOW_TRACKING_USERNAME": "", "MLFLOW_TRACKING_PASSWORD": ""}
    command(*asked, "--seed", "5", code=0, MLFLOW_TRACKING_TOKEN=TOKEN, **no_login)
    command("doctor", code=0)

    # what is refused before a run, and what fails in one and quotes the key
    command(*asked, "--seed", "1", code=2, OPENAI_API_KEY=f"{WRONG}-too")
    command(*asked, "--seed", "1", code=2, AWS_SECRET_ACCESS_KEY=f"{WRONG}-of-the-store")
    by_login = [login if word == server.url else word for word in asked]
    command(*by_login, "--seed", "2", code=2)  # a login takes the place of the key
    key = CANARIES["OPENAI_API_KEY"]
    server.ready = len(server.asked) + 1
    server.errors = [{"error": {"message": f"nothing for {key} at {login}", "code": 400}}] * 9
    command(*asked, "--seed", "3", code=2)
    last = (place / "said" / str(count)).read_text()
    assert "the server answers 400: nothing for ***" in last, last

    secrets = [*SECRETS, WRONG, IN_ADDRESS, TOKEN]
    assert told(place, secrets) == []
    told_mlflow = list(rows_of(database))
    assert {"runs", "params", "tags", "model_versions"} <= {name for name, _ in told_mlflow}
    runs = [row for name, row in told_mlflow if name == "runs"]
    assert sum(by_server["run_id"].encode() in row for row in runs) == 1, "this was looked into"
    assert [name for name, row in told_mlflow if found_in(row, secrets)] == []
    objects = list(objects_of(weed))
    assert any(name.startswith(bucket.partition(BUCKET)[2].strip("/")) for name, _ in objects)
    assert any(name.endswith("model.safetensors") for name, _ in objects)
    assert [
        (name, found) for name, content in objects if (found := found_in(content, secrets))
    ] == []
    assert told(prefect.home, secrets) == []
    assert told(mlflow_folder, secrets) == []
