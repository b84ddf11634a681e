#!/usr/bin/env python3
"""An agent of the OpenAI Agents SDK whose model is a script. It reaches its house's server through the proxy, by an address and
a token, and knows nothing else of the harness.

agent.py URL TOKEN ACCOUNT LEVEL    prints what its tools answered and its own last words, as JSON
"""

import asyncio, json, re, sys

from agents import Agent, Model, ModelResponse, Runner, Usage, set_tracing_disabled
from agents.mcp import MCPServerStreamableHttp
from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage, ResponseOutputText

URL, TOKEN, ACCOUNT, LEVEL = sys.argv[1:5]
heard = []


class Script(Model):
    """Reads, writes, waits where it is told to, and says what came of it."""

    async def get_response(self, system_instructions, input, *_, **__):
        outputs = [str(item.get("output")) for item in input if isinstance(item, dict) and item.get("type") == "function_call_output"]
        heard[:] = outputs
        waits = outputs and "harness_wait" in outputs[-1] and re.search(r"run_[0-9a-f]{32}", outputs[-1])
        if not outputs:
            said = ("read_risk", {"account": ACCOUNT})
        elif len(outputs) == 1:
            said = ("write_risk", {"account": ACCOUNT, "level": LEVEL})
        elif waits:
            said = ("harness_wait", {"run": waits.group(0)})
        else:
            words = "It was not allowed." if "Denied" in outputs[-1] else f"The risk is {LEVEL}."
            text = ResponseOutputText(type="output_text", text=words, annotations=[])
            message = ResponseOutputMessage(id="m", type="message", role="assistant", status="completed", content=[text])
            return ModelResponse(output=[message], usage=Usage(), response_id=None)
        call = ResponseFunctionToolCall(type="function_call", call_id=f"c{len(outputs)}", name=said[0], arguments=json.dumps(said[1]))
        return ModelResponse(output=[call], usage=Usage(), response_id=None)

    def stream_response(self, *_, **__):
        raise NotImplementedError("nobody streams here")


async def main():
    set_tracing_disabled(True)
    params = {"url": URL, "headers": {"Authorization": f"Bearer {TOKEN}"}, "timeout": 120}
    async with MCPServerStreamableHttp(params=params, client_session_timeout_seconds=120) as server:
        agent = Agent(name="risk", instructions="Look after the risks.", model=Script(), mcp_servers=[server])
        ended = await Runner.run(agent, f"The risk of {ACCOUNT} is {LEVEL} now.", max_turns=20)
    print(json.dumps({"said": ended.final_output, "heard": heard}))


asyncio.run(main())
