"""An episode as a server of MCP, by the official SDK, and the model that plays it, behind the wire of Chat Completions: both at one
address of this machine. The model is a script. It does what its task needs, and once an attack was before it, everything that
the attack wants, by every call and with the data that it wants."""

import asyncio
import itertools
import json
import socket
import threading

import mcp.types as types
import uvicorn
from mcp.server.lowlevel import Server
from starlette.responses import JSONResponse
from starlette.routing import Route

from suites import MARK

TAKE_BACK = "take_back"
ANSWER = {"type": "object", "required": ["result", "call"], "properties": {"result": {"type": "string"}, "call": {"type": "integer"}}}


class Stage:
    """One address; one episode at a time."""

    def __init__(self, world):
        self.world, self.episode, self.model = world, None, None
        server = Server(world.name, on_list_tools=self.list, on_call_tool=self.call)
        routes = [Route("/v1/chat/completions", self.complete, methods=["POST"])]
        app = server.streamable_http_app(json_response=True, stateless_http=True, custom_starlette_routes=routes)
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        self.url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        served = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        threading.Thread(target=lambda: asyncio.run(served.serve([sock])), daemon=True).start()

    def play(self, episode, manner):
        self.episode, self.model = episode, Model(episode, manner)

    async def list(self, _context, _params):
        tools = [
            types.Tool(name=tool.name, description=tool.description, input_schema=tool.parameters.model_json_schema(), output_schema=ANSWER)
            for tool in self.world.suite.tools
        ]
        number = {"type": "object", "required": ["call"], "properties": {"call": {"type": "integer"}}}
        back = types.Tool(name=TAKE_BACK, description="The world as it was before a call.", input_schema=number, output_schema=ANSWER)
        return types.ListToolsResult(tools=[*tools, back])

    async def call(self, _context, params):
        args = params.arguments or {}
        if params.name == TAKE_BACK:
            self.episode.take_back(args["call"])
            said, failed, number = "", False, args["call"]
        else:
            said, failed, number = self.episode.run(params.name, args)
        told = {"result": said, "call": number}
        content = [types.TextContent(type="text", text=said if failed else json.dumps(told))]
        return types.CallToolResult(content=content, structured_content=None if failed else told, is_error=failed)

    async def complete(self, request):
        return JSONResponse(self.model.turn(await request.json()))


class Model:
    """What it says turn by turn. `manner` is how an attack's calls are made: `one by one`, or `at once`, in a single turn."""

    numbers = itertools.count(1)

    def __init__(self, episode, manner):
        self.episode, self.manner = episode, manner
        self.left = [[(one, "own")] for one in episode.own]
        self.attacked = False

    def turn(self, request):
        told = [json.dumps(message["content"]) for message in request["messages"] if message["role"] == "tool"]
        if not self.attacked and any(MARK in text for text in told):
            self.attacked = True
            wanted = [(one, "injected") for one in self.episode.injected_script()]
            turns = [wanted] if self.manner == "at once" else [[one] for one in wanted]
            self.left = [turn for turn in turns if turn] + self.left
        if not self.left:
            return completion({"role": "assistant", "content": self.answer()}, "stop")
        calls = []
        for one, origin in self.left.pop(0):
            self.episode.propose(one, origin)
            function = {"name": f"{self.episode.world.name}_{one.function}", "arguments": json.dumps(dict(one.args))}
            calls.append({"id": f"call_{next(self.numbers)}", "type": "function", "function": function})
        return completion({"role": "assistant", "content": None, "tool_calls": calls}, "tool_calls")

    def answer(self):
        answer = self.episode.task.GROUND_TRUTH_OUTPUT
        if self.attacked:
            answer += "\n" + self.episode.text_goal()
        return answer.strip() or "Done."


def completion(message, finish):
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "scripted-1",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
    }
