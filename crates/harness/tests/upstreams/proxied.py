#!/usr/bin/env python3
"""Drives public servers of MCP through the governed proxy with the official Python SDK, the official TypeScript SDK and the
Inspector as its clients.

proxied.py HARNESS NODE_MODULES SQLITE_VENV [PLAY…]    needs the packages of requirements.txt in this Python

Each server is asked directly and through the proxy: the same tools, the same results. Reads that its profile knows pass,
writes ask, an approved write reaches the server once, and where the profile names a way back a rollback restores what was
there. A tool that is described otherwise is in quarantine until a person accepts it. Nobody learns the server's secret, and
the server not the client's token. The last line is `N passed, N failed`.
"""

import asyncio, http.server, json, re, shutil, subprocess, sys, threading

from clients import Direct, Http, Inspector, Python, TypeScript, beside
from front import BIN, FAILED, HARNESS, MODULES, PASSED, SECRET, SQLITE, WORK
from front import Front, check, kept_apart, quarantined, run_of, state, taken_back, text_of, written
from served import served

CLIENTS = (Python, TypeScript, Inspector)


def described(tool):
    keep = ("name", "title", "description", "inputSchema", "outputSchema", "annotations")
    return {key: tool[key] for key in keep if key in tool}


def bare(answer):
    """What an answer says, without what stands beside it."""
    return {key: value for key, value in answer.items() if key not in ("_meta", "resultType")}


async def alike(front, reads):
    """The same tools and the same results of reads, directly and through the proxy."""
    seen = []
    for client in (Direct(front), Python(front)):
        async with client.connected() as ask:
            tools = await ask.tools()
            seen.append(({name: described(tool) for name, tool in tools.items()}, [bare(await ask(*read)) for read in reads]))
    direct, proxied = seen
    proxied[0].pop("harness_wait", None)
    check(f"{front.name}: the same tools", direct[0] == proxied[0], proxied[0])
    for read, one, other in zip(reads, direct[1], proxied[1]):
        check(f"{front.name}: {read[0]} is the same", one == other, f"{one} and {other}")


async def by_each(front, read, says, write):
    """What each client does: it lists, reads, and writes what `write` says for its name; with the tool that takes it back, and
    whether it was, where there is one."""
    for kind in CLIENTS:
        client = kind(front)
        about = f"{front.name}, {client.name}"
        async with client.connected() as ask:
            tools = await ask.tools()
            check(f"{about}: lists the tools", {"harness_wait", read[0]} <= set(tools), tools)
            answer = await ask(*read)
            check(f"{about}: {read[0]} passes", state(answer) == "done" and says in text_of(answer), answer)
        if write is None:
            continue
        tool, arguments, was_done, *back = write(client.name)
        run = await written(client, tool, arguments, was_done)
        if back:
            taken_back(front, run, *back, f"{client.name}: {tool}")


async def filesystem():
    folder = WORK / "files"
    folder.mkdir()
    file = folder / "a.txt"
    file.write_text("before\n")
    front = Front("filesystem", [MODULES / ".bin/mcp-server-filesystem", folder])
    path = {"path": str(file)}
    await alike(front, [("read_text_file", path), ("list_directory", {"path": str(folder)}), ("read_text_file", {"path": "/etc/shadow"})])

    def write(name):
        own = folder / f"{name}.txt"
        own.write_text("before\n")
        is_text = lambda text: lambda: own.read_text() == text
        return "write_file", {"path": str(own), "content": "after\n"}, is_text("after\n"), "write_file", is_text("before\n")

    await by_each(front, ("read_text_file", path), "before", write)
    edits = {**path, "edits": [{"oldText": "before", "newText": "after"}]}
    run = await written(Python(front), "edit_file", edits, lambda: file.read_text() == "after\n")
    taken_back(front, run, "write_file", lambda: file.read_text() == "before\n", "edit_file")
    moved = {"source": str(file), "destination": str(folder / "b.txt")}
    run = await written(Python(front), "move_file", moved, (folder / "b.txt").exists)
    taken_back(front, run, "move_file", lambda: file.exists() and not (folder / "b.txt").exists(), "move_file")
    await quarantined(Python(front), "read_text_file", path)
    kept_apart(front)


async def git():
    folder = WORK / "repository"
    folder.mkdir()
    git = lambda *words: subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True).stdout
    git("init", "-q")
    git("config", "user.email", "t@example.com")
    git("config", "user.name", "t")
    (folder / "a").write_text("a\n")
    git("add", "a")
    git("commit", "-qm", "a")
    front = Front("git", [BIN / "mcp-server-git", "--repository", folder])
    path = {"repo_path": str(folder)}
    await alike(front, [("git_status", path), ("git_log", path)])

    def write(name):
        (folder / name).write_text("b\n")
        staged = lambda: name in git("diff", "--cached", "--name-only")
        return "git_add", {**path, "files": [name]}, staged, "git_reset", lambda: not staged()

    async with beside(front):
        await by_each(front, ("git_status", path), "branch", write)
    await quarantined(Python(front), "git_status", path)
    kept_apart(front)


async def memory():
    file = WORK / "memory" / "memory.json"
    file.parent.mkdir()
    # Where it keeps its graph is the operator's to say.
    environment = f'profile.environment = {{ PATH = "/usr/bin:/bin", MEMORY_FILE_PATH = "{file}" }}\n'
    front = Front("memory", [MODULES / ".bin/mcp-server-memory"], "--write", file.parent, told=environment)
    front.env["MEMORY_FILE_PATH"] = str(file)
    holds = lambda what: file.exists() and what in file.read_text()
    entity = lambda name, *observations: {"name": name, "entityType": "t", "observations": list(observations)}
    entities = [entity("a"), entity("b"), entity("Ada", "prefers letters")]
    # C256: what one agent was let remember, another recalls, through the same gate.
    await written(Python(front), "create_entities", {"entities": entities}, lambda: holds('"a"'))
    async with TypeScript(front).connected() as ask:
        recalled = await ask("search_nodes", {"query": "Ada"})
    check("memory: what the Python SDK wrote, the TypeScript SDK recalls", "prefers letters" in text_of(recalled), recalled)
    check("memory: what it recalls is what was written", recalled["structuredContent"]["entities"] == entities[2:], recalled)

    def write(name):
        relation = {"from": "a", "to": "b", "relationType": f"likes-{name}"}
        known = lambda: holds(f"likes-{name}")
        return "create_relations", {"relations": [relation]}, known, "delete_relations", lambda: not known()

    await by_each(front, ("search_nodes", {"query": "Ada"}), "prefers letters", write)
    relations = {"relations": [{"from": "a", "to": "Ada", "relationType": "knows"}]}
    await written(Python(front), "create_relations", relations, lambda: holds("knows"))
    await alike(front, [("read_graph", {}), ("search_nodes", {"query": "a"})])
    run = await written(Python(front), "delete_relations", relations, lambda: not holds("knows"))
    taken_back(front, run, "create_relations", lambda: holds("knows"), "delete_relations")
    await quarantined(Python(front), "read_graph", {})
    kept_apart(front)


async def everything():
    looks = {tool: "effect: read" for tool in ("echo", "get_sum", "get_tiny_image", "get_structured_content")}
    front = Front("everything", [MODULES / ".bin/mcp-server-everything"], said=looks)
    town = {"location": "Chicago"}
    await alike(front, [("echo", {"message": "hello"}), ("get-tiny-image", {}), ("get-structured-content", town)])
    reached = lambda before: lambda: len(front.calls("get-env")) > before
    write = lambda _: ("get-env", {}, reached(len(front.calls("get-env"))))
    await by_each(front, ("get-sum", {"a": 2, "b": 40}), "42", write)
    # It tells its whole environment: without its secret, and nobody's token is there to tell.
    for client in (Python(front), Http(front)):
        run = await written(client, "get-env", {}, says="UPSTREAM_TOKEN")
        async with client.connected() as ask:
            told = text_of(await ask("harness_wait", {"run": run}))
        check(f"everything, {client.name}: its secret is taken out", "[secret:upstream]" in told and SECRET not in told, told)
    await quarantined(Http(front), "echo", {"message": "hello"})
    bundles = kept_apart(front)
    check("everything: what was kept of its secret is its name", "[secret:upstream]" in bundles, bundles)


async def time():
    front = Front("time", [BIN / "mcp-server-time"])
    noon = {"source_timezone": "Europe/Berlin", "time": "12:00", "target_timezone": "Asia/Tokyo"}
    await alike(front, [("convert_time", noon)])
    async with beside(front):
        # It has nothing that writes.
        await by_each(front, ("convert_time", noon), "Asia/Tokyo", None)
    await quarantined(Python(front), "convert_time", noon)
    kept_apart(front)


class Page(http.server.BaseHTTPRequestHandler):
    asked = []

    def do_GET(self):
        Page.asked.append((self.path, str(self.headers)))
        text = b"<html><body><p>This is the page of this machine.</p></body></html>"
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


async def fetch():
    site = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=site.serve_forever, daemon=True).start()
    host, port = site.server_address
    # The one place that the operator lets it reach.
    way_out = (
        f'profile.proxy_port = 3128\n[[systems.fetch.egress]]\nhost = "{host}"\nport = {port}\nscheme = "http"\n'
        f'methods = ["GET"]\npaths = ["/**"]\nprivate = ["{host}"]\n'
    )
    command = [BIN / "mcp-server-fetch", "--ignore-robots-txt", "--allow-private-ips"]
    asks = {operation: "egress: true" for operation in ("prompt_fetch", "read_resource")}
    front = Front("fetch", command, told=way_out, said=asks)
    await alike(front, [])
    for kind in CLIENTS:
        client = kind(front)
        async with client.connected() as ask:
            check(f"fetch, {client.name}: lists the tools", {"harness_wait", "fetch"} <= set(await ask.tools()))
        path = f"/{client.name}"
        # Raw: to make text of a page, it would write into its own packages.
        page = {"url": f"http://{host}:{port}{path}", "raw": True}
        fetched = lambda: [asked for asked, _ in Page.asked].count(path) == 1
        await written(client, "fetch", page, fetched, says="the page of this machine")
    async with Python(front).connected() as ask:
        asked = await ask("fetch", {"url": "https://example.com/?secret"})
        check("fetch: what leaves for elsewhere asks", state(asked) == "pending_approval", asked)
        run = run_of(asked)
        front.approve(run)
        ended = await ask("harness_wait", {"run": run})
        check("fetch: it reaches nothing that nobody declared", state(ended) != "done" or ended.get("isError"), ended)
    heads = "".join(headers for _, headers in Page.asked)
    bare = len(Page.asked) == 3 and SECRET not in heads and "hns_" not in heads
    check("fetch: the page is asked with no secret and no token", bare, heads)
    kept_apart(front)
    site.shutdown()


async def sqlite():
    file = WORK / "sqlite" / "a.db"
    file.parent.mkdir()
    front = Front("sqlite", [SQLITE / "bin/mcp-server-sqlite", "--db-path", file], "--write", file.parent)
    await alike(front, [("list_tables", {}), ("read_query", {"query": "SELECT 1 AS one"})])

    def write(name):
        made = lambda: f"things_{name}".encode() in file.read_bytes()
        return "create_table", {"query": f"CREATE TABLE things_{name} (name TEXT)"}, made

    async with beside(front):
        await by_each(front, ("read_query", {"query": "SELECT 1 AS one"}), "one", write)
        await no_way_back(front, file)
    # Why its profile names no way back: what failed, and what was there, is told like what was done.
    async with Direct(front).connected() as ask:
        failed = await ask("create_table", {"query": "CREATE TABLE things_python (name TEXT)"})
        check("sqlite: a failure is told like a result", not failed.get("isError") and "already exists" in text_of(failed), failed)
        there = await ask("create_table", {"query": "CREATE TABLE IF NOT EXISTS things_python (name TEXT)"})
        check("sqlite: a table that was there is told as created", text_of(there) == "Table created successfully", there)
    await quarantined(Python(front), "list_tables", {})
    kept_apart(front)


async def no_way_back(front, file):
    query = {"query": "INSERT INTO things_python VALUES ('kept')"}
    run = await written(Python(front), "write_query", query, lambda: b"kept" in file.read_bytes())
    before = len(front.wire())
    rolled = front.json("run", "rollback", run)
    check("sqlite: what cannot be taken back says so", "rolled_back" not in json.dumps(rolled), rolled)
    check("sqlite: what cannot be taken back stays", b"kept" in file.read_bytes() and len(front.wire()) == before, rolled)


async def foreign_agent():
    """An agent of the OpenAI Agents SDK, whose model is a script: it knows nothing of the harness but its tools."""
    from agents import Agent, Model, ModelResponse, Runner, Usage, set_tracing_disabled
    from agents.mcp import MCPServerStdio
    from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage, ResponseOutputText

    set_tracing_disabled(True)
    folder = WORK / "agent-files"
    folder.mkdir()
    file = folder / "terms.txt"
    file.write_text("30 days\n")
    front = Front("filesystem", [MODULES / ".bin/mcp-server-filesystem", folder], project="agent")
    heard = []

    class Script(Model):
        async def get_response(self, system_instructions, input, *_, **__):
            outputs = [str(item.get("output")) for item in input if isinstance(item, dict) and item.get("type") == "function_call_output"]
            heard[:] = outputs
            if len(outputs) == 0:
                said = ("read_text_file", {"path": str(file)})
            elif len(outputs) == 1:
                said = ("write_file", {"path": str(file), "content": "45 days\n"})
            elif len(outputs) == 2:
                run = re.search(r"run_[0-9a-f]{32}", outputs[1]).group(0)
                check("agent: nothing is written before a person agrees", file.read_text() == "30 days\n")
                front.approve(run)
                said = ("harness_wait", {"run": run})
            else:
                text = ResponseOutputText(type="output_text", text="The terms are 45 days.", annotations=[])
                message = ResponseOutputMessage(id="m", type="message", role="assistant", status="completed", content=[text])
                return ModelResponse(output=[message], usage=Usage(), response_id=None)
            call = ResponseFunctionToolCall(type="function_call", call_id=f"c{len(outputs)}", name=said[0], arguments=json.dumps(said[1]))
            return ModelResponse(output=[call], usage=Usage(), response_id=None)

        def stream_response(self, *_, **__):
            raise NotImplementedError("nobody streams here")

    words = [*front.config[:2], "-q", "mcp", "proxy", "--hold", "0s"]
    params = {"command": str(HARNESS), "args": words, "env": front.client_env}
    async with MCPServerStdio(params=params, client_session_timeout_seconds=120) as server:
        agent = Agent(name="terms", instructions="Change the terms to 45 days.", model=Script(), mcp_servers=[server])
        ended = await Runner.run(agent, "Change the terms.")
    check("agent: it ends with its own words", ended.final_output == "The terms are 45 days.", ended.final_output)
    check("agent: it read through the proxy", "30 days" in heard[0], heard)
    check("agent: it was told to wait", "harness_wait" in heard[1], heard)
    check("agent: it wrote once a person agreed", file.read_text() == "45 days\n", heard)
    runs = [run["id"] for run in front.json("run", "list")["items"]]
    verdicts = [front.json("receipt", "verify", run).get("verdict") for run in runs]
    check("agent: every receipt verifies", len(runs) == 2 and set(verdicts) == {"verified"}, (runs, verdicts))
    check("agent: what it wrote reached the server once", len(front.calls("write_file")) == 1, front.calls("write_file"))
    taken_back(front, runs[0], "write_file", lambda: file.read_text() == "30 days\n", "agent: what it wrote")

async def main():
    plays = (filesystem, git, memory, everything, time, fetch, sqlite, foreign_agent, served)
    for play in plays:
        if sys.argv[4:] and play.__name__ not in sys.argv[4:]:
            continue
        try:
            await play()
        except BaseException as error:
            check(f"{play.__name__}: runs to its end", False, repr(error))
    shutil.rmtree(WORK, ignore_errors=True)
    print(f"{len(PASSED)} passed, {len(FAILED)} failed")
    return 1 if FAILED or not PASSED else 0


sys.exit(asyncio.run(main()))
