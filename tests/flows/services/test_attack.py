"""What a web page or another user of this machine tries on a running `threeloops up`, in vain.

The attack makes a deployment whose pull step runs a shell, and asks for a run of it. It worked as
long as Prefect's server answered everybody.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import psutil
import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType

from flows.orchestration.up_file import Served, new_links
from tests import canaries
from tests.flows.services.browser import CHROMIUM, Browser, Wait
from tests.running_up import processes, signed_in

pytestmark = [pytest.mark.slow, pytest.mark.untraced]
SHELL = "prefect.deployments.steps.run_shell_script"
# what the servers need in their environment, and nobody who asks them
CANARIES = {
    "AWS_SECRET_ACCESS_KEY": "canary-of-the-bucket",
    "AWS_SESSION_TOKEN": "canary-of-its-session",
    "OPENAI_API_KEY": "canary-of-a-model-server",
    "MLFLOW_TRACKING_PASSWORD": "canary-of-mlflow",
}
TEMPLATE = {"name": "brief", "version": 1, "form": "chat", "instruction": "{question}"}
# what Prefect's page asks with an empty filter
LISTS = ("flow_runs", "logs", "deployments", "work_pools", "variables", "block_documents")


@pytest.fixture(scope="module")
def environment(
    environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """With a store that machines share, and with secrets."""
    shared = tmp_path_factory.mktemp("shared")
    return environment | CANARIES | {"THREELOOPS_STORE": shared.as_uri()}


def steps(mark: Path) -> list[tuple[str, dict[str, Any]]]:
    """The requests of the attack; `{id}` stands for what the one before made."""
    deployment = {
        "name": "attack",
        "flow_id": "{id}",
        "work_pool_name": "threeloops",
        "entrypoint": "flows/eval.py:eval_flow",
        "pull_steps": [{SHELL: {"script": f"touch {mark}"}}],
    }
    return [
        ("/api/flows/", {"name": "attack"}),
        ("/api/deployments/", deployment),
        ("/api/deployments/{id}/create_flow_run", {}),
    ]


def listening(environment: dict[str, str]) -> set[int]:
    """Every port that a process of the running `up` listens on."""
    return {
        one.laddr.port
        for process in processes(environment["THREELOOPS_HOME"])
        for one in process.net_connections("inet")
        if one.status == psutil.CONN_LISTEN
    }


def ask(port: int, path: str, body: object, headers: dict[str, str]) -> tuple[int, str]:
    """Status and text of what a port answers to a POST."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    sent = {"Content-Type": "application/json", "Origin": "http://evil.example"} | headers
    try:
        connection.request("POST", path, json.dumps(body), sent)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except (OSError, http.client.HTTPException) as error:
        return 0, str(error)  # no server that speaks HTTP
    finally:
        connection.close()


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1:{port}", "localhost:{port}"])
def test_a_request_from_elsewhere_starts_nothing_on_any_port(
    served: dict[str, str], environment: dict[str, str], tmp_path: Path, host: str, wait_for: Wait
) -> None:
    mark, statuses = tmp_path / "mark", []
    ports = listening(environment)
    assert ports
    for port in ports:
        made = ""
        for path, body in steps(mark):
            text = json.dumps(body).replace("{id}", made)
            status, said = ask(
                port, path.replace("{id}", made), json.loads(text), {"Host": host.format(port=port)}
            )
            statuses.append(status)
            made = json.loads(said).get("id", "none") if status in (200, 201) else "none"
    if 201 in statuses:
        wait_for(mark.exists, "the shell of the attack")
    assert not mark.exists(), "a foreign request ran a command"
    assert set(statuses) <= {0, 401, 403}, statuses


def flows(served: dict[str, str]) -> list[str]:
    """The names of all flows on the server, as a program of this user sees them."""
    up = Served.model_validate(served)
    answer = httpx.post(f"{up.prefect}/flows/filter", json={}, headers=up.headers)
    return [str(one["name"]) for one in answer.json()]


class AnotherPage(BaseHTTPRequestHandler):
    """A web page of somebody else, which wants what the browser knows."""

    server: Elsewhere

    def do_GET(self) -> None:
        self.server.cookies.append(self.headers["Cookie"] or "")
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>evil</title>another page")

    def log_message(self, *_: object) -> None:
        """Without a line for each request."""


class Elsewhere(ThreadingHTTPServer):
    """The server of that page, and the cookies that it was sent.

    A browser opens connections before it needs them, for which nobody waits at the end.
    """

    daemon_threads, block_on_close = True, False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), AnotherPage)
        self.cookies: list[str] = []


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    with Elsewhere() as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


# each way in which a page can ask another server for something, with the cookies of the browser
ATTACK = """window.said = null; (async (targets) => {
  const said = [], json = JSON.stringify({name: "attack"});
  for (const target of targets) {
    for (const credentials of ["include", "omit"]) {
      for (const [mode, type] of [["cors", "application/json"], ["no-cors", "text/plain"]]) {
        try {
          const answer = await fetch(target + "/api/flows/",
            {method: "POST", mode, credentials, headers: {"Content-Type": type}, body: json});
          said.push(`${mode} ${answer.status}`);
        } catch (error) { said.push(`${mode} failed`); }
      }
    }
    said.push("socket " + await new Promise((done) => {
      const socket = new WebSocket(target.replace("http", "ws") + "/api/logs/out", "prefect");
      socket.onopen = () => done("open");
      socket.onerror = () => done("failed");
    }));
    const form = document.createElement("form"), frame = document.createElement("iframe");
    Object.assign(frame, {name: "f" + said.length});
    Object.assign(form, {method: "POST", action: target + "/api/flows/", target: frame.name});
    document.body.append(frame, form);
    form.submit();
    await new Promise((done) => { frame.onload = done; setTimeout(done, 3000); });
  }
  window.said = said;
})(%s)"""


def attack(browser: Browser, targets: list[str], wait_for: Wait) -> list[str]:
    """What the page in sight gets from each target."""
    browser.run(ATTACK % json.dumps(targets))
    return list(wait_for(lambda: browser.run("window.said"), "the attack"))


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "evil.localhost", "our name"])
def test_another_page_in_the_browser_of_the_user_can_do_nothing(
    served: dict[str, str],
    browser: Browser,
    elsewhere: Elsewhere,
    wait_for: Wait,
    name: str,
) -> None:
    """Even one that knows our name, which is a secret, and is on another port of it."""
    browser.open(new_links(Served.model_validate(served))["Prefect"], "Flows")
    ours = served["prefect_page"]
    host = ours.split("/")[2].partition(":")[0] if name == "our name" else name
    port = ours.rpartition(":")[2]
    browser.open(f"http://{host}:{elsewhere.server_port}/", "another page")
    programs = served["prefect"].removesuffix("/api")
    targets = [ours, f"http://127.0.0.1:{port}", f"http://localhost:{port}", programs]
    said = attack(browser, targets, wait_for)
    assert set(said) <= {"cors failed", "no-cors 0", "socket failed"}, said
    assert "attack" not in flows(served)
    if name != "our name":
        assert not any(elsewhere.cookies), "another server was sent our cookie"


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
def test_the_page_itself_can_do_what_the_other_could_not(
    served: dict[str, str], browser: Browser, wait_for: Wait
) -> None:
    browser.open(new_links(Served.model_validate(served))["Prefect"], "Flows")
    said = attack(browser, [served["prefect_page"]], wait_for)
    assert {"cors 201", "socket open"} <= set(said), said
    assert "attack" in flows(served)


def test_who_may_ask_is_told_no_secret_of_a_store_or_a_model_server(
    served: dict[str, str], environment: dict[str, str], tiny: str, wait_for: Wait
) -> None:
    """After a deployment's run with a store and a template of its own."""
    up = Served.model_validate(served)
    config = {
        "model": tiny,
        "limit": 2,
        "samples": 1,
        "template": TEMPLATE,
        "sampling": {"max_new_tokens": 4},
    }
    with SyncPrefectClient(up.prefect, httpx_settings={"headers": up.headers}) as client:
        deployment = client.read_deployment_by_name("eval/nightly")
        run = client.create_flow_run_from_deployment(deployment.id, parameters={"config": config})

        def state() -> Any:
            found = client.read_flow_run(run.id).state
            return found if found and found.is_final() else None

        ended = wait_for(state, "the end of the flow run")
    assert ended.type == StateType.COMPLETED, ended.message
    shared = Path(httpx.URL(environment["THREELOOPS_STORE"]).path)
    assert list((shared / "tables" / "scores").iterdir()), "the store was used"
    for place in (Path(environment["THREELOOPS_HOME"]), shared):
        assert canaries.told(place, CANARIES.values()) == []
    with signed_in(served, "Prefect") as page:
        answers = [page.get("/api/admin/settings")]
        answers += [page.post(f"/api/{name}/filter", json={}) for name in LISTS]
    with signed_in(served, "MLflow") as page:
        runs = {"experiment_ids": [str(number) for number in range(5)]}
        answers.append(page.post("/ajax-api/2.0/mlflow/runs/search", json=runs))
    for answer in answers:
        assert answer.status_code == 200, answer.text
        assert canaries.found_in(answer.content, CANARIES.values()) == [], answer.url
    assert "brief@1:" in answers[-1].text, "MLflow told of the run, with its template"
