"""The official SDK as our client, and as the agent that we hand tasks to."""

import asyncio
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import traceback
import urllib.request
import uuid

import httpx
import uvicorn
from a2a.client import A2ACardResolver, ClientConfig, create_client
from a2a.server.agent_execution import AgentExecutor
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types import a2a_pb2 as pb
from google.protobuf.json_format import MessageToDict, ParseDict
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse

HARNESS = str(pathlib.Path(sys.argv[1]).resolve())
ROOT = pathlib.Path(__file__).resolve().parents[4]
PERMIT = '@id("all")\n@reason("a test")\npermit (principal, action, resource);\n'
TOKEN = "tok-of-the-agent"
DONE = []


def check(name, holds, told=""):
    DONE.append(bool(holds))
    print(("ok   " if holds else "FAIL ") + name + ("" if holds else f": {told}"), flush=True)


def command(folder, *words, code=0, env=None):
    ran = subprocess.run([HARNESS, "-o", "json", *words], cwd=folder, capture_output=True, text=True, env=env)
    if ran.returncode != code:
        raise AssertionError(f"{words}: {ran.returncode} {ran.stdout} {ran.stderr}")
    return json.loads(ran.stdout) if ran.stdout else {}


def approve(folder, run):
    detail = command(folder, "run", "get", run)
    approval = detail["waiting_for"][0]
    digest = command(folder, "approval", "get", approval)["digest"]
    return command(folder, "--as", "mira", "approval", "approve", approval, "--digest", digest)


def office(folder, place, tokens):
    shutil.copytree(ROOT / "packs" / "customer-ops", folder / "packs" / "customer-ops")
    (folder / "secrets").mkdir()
    lines = [
        'store = "store"', 'packs = ["packs/customer-ops"]', 'me = "ulla"', 'approvals.terminal = "name"',
        "[people.ulla]", 'roles = ["requester", "approver", "operator"]', "[people.mira]", 'roles = ["approver", "finance"]',
        "[people.ada]", 'roles = ["admin"]', "[keys]", 'receipts = "file:keys/receipts.key"',
        "[policy]", 'operator = ["operator.cedar"]',
        "[systems.smtp]", 'kind = "smtp"', f'address = "{place["smtp"]}"', 'tls = "none"',
    ]
    secrets = ["[secrets]"]
    for system, both in tokens.items():
        lines += [f"[systems.{system}]", 'kind = "http"', f'url = "{place["url"]}/{system}"']
        path = folder / "secrets" / system
        path.write_text(both["write"])
        path.chmod(0o600)
        secrets.append(f'{system}_token = "file:{path}"')
    (folder / "harness.toml").write_text("\n".join(lines + secrets) + "\n")
    (folder / "operator.cedar").write_text(PERMIT)


def message(skill, data, name=None, context=None):
    said = {
        "messageId": name or str(uuid.uuid4()), "role": "ROLE_USER",
        "parts": [{"data": data}], "metadata": {"skill": skill},
    }
    if context:
        said["contextId"] = context
    return ParseDict({"message": said}, pb.SendMessageRequest())


def change(days):
    return message("contract_field_change", {
        "account": "ACC-0042", "field": "PaymentTermsDays", "value": str(days), "reason": "as agreed in the call",
    })


async def one(client, request):
    return [event async for event in client.send_message(request)][-1].task


async def as_our_client(folder, url, token, binding):
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(headers=headers, timeout=60) as http:
        card = await A2ACardResolver(http, url).get_agent_card()
        check(f"{binding}: the card says how to speak", any(i.protocol_binding == binding for i in card.supported_interfaces))
        check(f"{binding}: and that a token is wanted", "bearer" in card.security_requirements[0].schemes)
        def config(streams):
            return ClientConfig(streaming=streams, httpx_client=http, supported_protocol_bindings=[binding])
        client = await create_client(card, client_config=config(False))
        streaming = await create_client(card, client_config=config(True))
        extended = await client.get_extended_agent_card(pb.GetExtendedAgentCardRequest())
        check(f"{binding}: the extended card lists skills", "churn_risk_read" in [skill.id for skill in extended.skills])
        asked = message("churn_risk_read", {"account": "ACC-0042"}, context="a-context")
        task = await one(client, asked)
        told = MessageToDict(task)
        check(f"{binding}: a read is completed", task.status.state == pb.TASK_STATE_COMPLETED, told)
        check(f"{binding}: with its output", told["artifacts"][0]["parts"][0]["data"]["account"] == "ACC-0042", told)
        check(f"{binding}: in its context", task.context_id == "a-context", told)
        check(f"{binding}: the same message is the same task", (await one(client, asked)).id == task.id)
        got = await client.get_task(pb.GetTaskRequest(id=task.id))
        check(f"{binding}: the task is told again", (got.id, got.status.state, got.artifacts) == (task.id, task.status.state, task.artifacts), MessageToDict(got))
        states, run, pieces = [], None, []
        async for event in streaming.send_message(change(45 if binding == "JSONRPC" else 60)):
            kind = event.WhichOneof("payload")
            if kind == "task":
                run = event.task.id
                states.append(event.task.status.state)
            elif kind == "status_update":
                states.append(event.status_update.status.state)
            else:
                pieces.append(event.artifact_update.artifact.artifact_id)
            if states[-1] == pb.TASK_STATE_INPUT_REQUIRED:
                await asyncio.to_thread(approve, folder, run)
        names = [pb.TaskState.Name(state) for state in states]
        check(f"{binding}: a stream asks and then ends well",
              pb.TASK_STATE_INPUT_REQUIRED in states and states[-1] == pb.TASK_STATE_COMPLETED, names)
        check(f"{binding}: with one artifact", pieces == ["output"], pieces)
        waits = await one(client, change(75))
        check(f"{binding}: a message is answered when a person is asked", waits.status.state == pb.TASK_STATE_INPUT_REQUIRED)
        check(f"{binding}: and says where one decides", "/approvals/" in waits.status.message.parts[0].text)
        listed = await client.list_tasks(pb.ListTasksRequest(status=pb.TASK_STATE_INPUT_REQUIRED))
        check(f"{binding}: it is in the list", [task.id for task in listed.tasks] == [waits.id], MessageToDict(listed))
        ended = await client.cancel_task(pb.CancelTaskRequest(id=waits.id))
        check(f"{binding}: it can be ended", ended.status.state == pb.TASK_STATE_CANCELED, MessageToDict(ended))
        for name, call in {
            "a task that is none": client.get_task(pb.GetTaskRequest(id="run_0000000000000000")),
            "what is over cannot be ended": client.cancel_task(pb.CancelTaskRequest(id=task.id)),
        }.items():
            try:
                await call
                check(f"{binding}: {name}", False, "no error")
            except Exception as error:
                wanted = "TaskNotFound" if "none" in name else "TaskNotCancelable"
                check(f"{binding}: {name}", wanted in type(error).__name__, repr(error))
    async with httpx.AsyncClient(timeout=60) as stranger:
        client = await create_client(card, client_config=ClientConfig(
            streaming=False, httpx_client=stranger, supported_protocol_bindings=[binding]))
        try:
            await one(client, message("churn_risk_read", {"account": "ACC-0042"}))
            check(f"{binding}: nobody without a token", False, "it was answered")
        except Exception as error:
            check(f"{binding}: nobody without a token", "401" in repr(error), repr(error))


class Quotes(AgentExecutor):
    """Says a price, or asks for one thing more."""

    heard = []

    async def execute(self, context, queue):
        said = MessageToDict(context.message)
        Quotes.heard.append(said)
        if context.current_task is None:
            await queue.enqueue_event(pb.Task(
                id=context.task_id, context_id=context.context_id,
                status=pb.TaskStatus(state=pb.TASK_STATE_SUBMITTED),
            ))
        updater = TaskUpdater(queue, context.task_id, context.context_id)
        await updater.start_work()
        await asyncio.sleep(0.3)
        if "vague" in context.get_user_input():
            await updater.requires_input(updater.new_agent_message([pb.Part(text="Which colour?")]))
            return
        price = ParseDict({"data": {"price": 12}}, pb.Part())
        await updater.add_artifact([pb.Part(text="Twelve."), price], name="quote")
        await updater.complete()

    async def cancel(self, context, queue):
        await TaskUpdater(queue, context.task_id, context.context_id).cancel()


class Bearer:
    """Only whoever has the token is heard; the card is everybody's."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        headers = dict(scope.get("headers") or [])
        is_open = scope["type"] != "http" or scope["path"].startswith("/.well-known")
        if is_open or headers.get(b"authorization") == f"Bearer {TOKEN}".encode():
            return await self.app(scope, receive, send)
        return await PlainTextResponse("who?", 401)(scope, receive, send)


def agent():
    """The SDK's own server with that agent, at a free port."""
    import socket
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    card = ParseDict({
        "name": "Quotes", "description": "Says prices.", "version": "1", "capabilities": {"streaming": True},
        "defaultInputModes": ["text/plain"], "defaultOutputModes": ["text/plain"],
        "supportedInterfaces": [{"url": f"{url}/rpc", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}],
        "securitySchemes": {"b": {"httpAuthSecurityScheme": {"scheme": "Bearer"}}},
        "securityRequirements": [{"schemes": {"b": {"list": []}}}],
        "skills": [{"id": "quote", "name": "Get a quote", "description": "Says what something costs.", "tags": ["x"]}],
    }, pb.AgentCard())
    handler = DefaultRequestHandler(agent_executor=Quotes(), task_store=InMemoryTaskStore(), agent_card=card)
    routes = create_agent_card_routes(card) + create_jsonrpc_routes(handler, rpc_url="/rpc")
    server = uvicorn.Server(uvicorn.Config(Bearer(Starlette(routes=routes)), log_level="warning"))
    threading.Thread(target=lambda: asyncio.run(server.serve([sock])), daemon=True).start()
    return url


def as_our_agent(folder, url):
    for below in ("pack/connectors", "pack/playbooks", "pack/intents"):
        (folder / below).mkdir(parents=True)
    drafted = command(folder, "connector", "import", "a2a", url, "--name", "quotes", "--to", "pack/connectors")
    check("import: an operation for the skill", drafted["files"][0]["operations"] == ["quote"], drafted)
    check("import: the address is the card's", f'url = "{url}/rpc"' in drafted["system"], drafted)
    # A person says what may be sent there.
    connector = folder / "pack/connectors/quotes.yaml"
    connector.write_text(connector.read_text().replace("confidentiality: public", "confidentiality: internal"))
    (folder / "pack/pack.yaml").write_text(
        "schema: harness.pack/v1\nname: buyer\nversion: 0.1.0\nowner: team\ndescription: Buys.\nharness: \">=0.1\"\n"
        "asks: {operations: [quotes.quote], secrets: [quotes_token]}\n")
    (folder / "pack/intents/ask.yaml").write_text(
        "schema: harness.intent/v1\nname: ask\ntitle: Ask\nplaybook: ask\nagent: agent:buyer\ntriggers: [ask]\n"
        "input: {type: object, required: [text], properties: {text: {type: string}}}\n")
    (folder / "pack/playbooks/ask.yaml").write_text(
        "schema: harness.playbook/v1\nname: ask\nsteps:\n  - {id: task, do: quotes.quote, with: {text: \"${{ intent.text }}\"}}\n"
        "  - {id: out, return: \"${{ steps.task.output }}\"}\n")
    (folder / "token").write_text(TOKEN)
    (folder / "token").chmod(0o600)
    (folder / "operator.cedar").write_text(PERMIT)
    (folder / "harness.toml").write_text(
        'store = "store"\npacks = ["pack"]\nme = "ulla"\napprovals.terminal = "name"\n[people.ulla]\nroles = ["requester"]\n'
        '[people.mira]\nroles = ["approver"]\n[keys]\nreceipts = "file:keys/receipts.key"\n[policy]\noperator = ["operator.cedar"]\n'
        f'[secrets]\nquotes_token = "file:{folder}/token"\n[systems.quotes]\nkind = "http"\nurl = "{url}/rpc"\n')
    def ask(text):
        run = command(folder, "intent", "submit", "ask", "--json", json.dumps({"text": text}))["run"]["id"]
        subprocess.run(
            [HARNESS, "-o", "json", "--as", "mira", "approval", "approve",
             (approval := command(folder, "run", "get", run)["waiting_for"][0]),
             "--digest", command(folder, "approval", "get", approval)["digest"]], cwd=folder, capture_output=True)
        subprocess.run([HARNESS, "run", "resume", run], cwd=folder, capture_output=True)
        return command(folder, "run", "get", run)
    detail = ask("How much?")
    output = detail["output"]
    check("delegate: what it came to", output and output["text"] == "Twelve." and output["data"] == [{"price": 12}], detail)
    said = Quotes.heard[0]
    check("delegate: what was said", said["parts"] == [{"text": "How much?"}] and said["metadata"] == {"skill": "quote"}, said)
    verified = command(folder, "receipt", "verify", detail["run"]["id"])
    check("delegate: the receipt verifies", verified["verdict"] == "verified", verified)
    detail = ask("something vague")
    told = json.dumps(detail)
    check("delegate: what asks back is not answered", "Which colour?" in told and "was ended by us" in told, told)
    (folder / "token").write_text("another")
    detail = ask("How much now?")
    check("delegate: a wrong token is a permission that is missing", "permission" in json.dumps(detail["troubles"]), detail)


def main():
    started = []
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "ours").mkdir()
        (folder / "theirs").mkdir()
        try:
            world = subprocess.Popen([HARNESS, "demo-world", "--minutes", "30"], cwd=folder, stdout=subprocess.PIPE,
                                     stderr=subprocess.DEVNULL)
            started.append(world)
            place = json.loads(world.stdout.readline())
            with urllib.request.urlopen(place["url"] + "/_world") as answer:
                tokens = json.load(answer)["tokens"]
            ours = folder / "ours"
            office(ours, place, tokens)
            serving = subprocess.Popen([HARNESS, "serve", "--listen", "127.0.0.1:0"], cwd=ours, stderr=subprocess.PIPE, text=True)
            started.append(serving)
            url = "http://" + serving.stderr.readline().split(" at http://")[1].split(";")[0].strip()
            threading.Thread(target=serving.stderr.read, daemon=True).start()
            token = command(ours, "--as", "ada", "token", "create", "sdk", "--agent", "sdk", "--owner", "ulla")["token"]
            for binding in ("JSONRPC", "HTTP+JSON"):
                try:
                    asyncio.run(as_our_client(ours, url, token, binding))
                except Exception:
                    traceback.print_exc()
                    check(f"{binding}: to its end", False, "see above")
            try:
                as_our_agent(folder / "theirs", agent())
            except Exception:
                traceback.print_exc()
                check("delegate: to its end", False, "see above")
        finally:
            for process in started:
                process.terminate()
                process.wait()
    passed = sum(DONE)
    print(f"{passed} passed, {len(DONE) - passed} failed", flush=True)
    # What the SDK's server still holds is nobody's any more.
    os._exit(0 if passed == len(DONE) else 1)


main()
