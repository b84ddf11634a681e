#!/usr/bin/env python3
"""A house's own server of MCP in front of its CRM, written with the official SDK: it knows nothing of the harness.

books.py WORLD TOKEN_FILE    prints the address that it serves at
"""

import asyncio, json, pathlib, socket, sys, urllib.request

from mcp.server.mcpserver import MCPServer

WORLD, TOKEN = sys.argv[1], pathlib.Path(sys.argv[2]).read_text().strip()
books = MCPServer("books", log_level="ERROR")


def crm(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(f"{WORLD}/crm{path}", data, headers, method=method)) as answer:
        return json.load(answer)


@books.tool(description="Reads how likely an account is to leave")
def read_risk(account: str) -> str:
    return crm("GET", f"/accounts/{account}/churn_risk")["Level"]


@books.tool(description="Writes how likely an account is to leave: low, medium or high")
def write_risk(account: str, level: str) -> str:
    return crm("PATCH", f"/accounts/{account}/churn_risk", {"Level": level})["Level"]


with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
print(f"http://127.0.0.1:{port}/mcp", flush=True)
asyncio.run(books.run_streamable_http_async(port=port))
