"""The harness's own server, `harness mcp serve`, with the official Python SDK as its client."""

from clients import Http, Python
from front import MODULES, WORK, Front, check, kept_apart, state, text_of, written

SERVE = ["mcp", "serve", "--hold", "0s", "--operations", "filesystem.read_text_file", "--operations", "filesystem.write_file"]

INTENT = """\
schema: harness.intent/v1
name: leave_note
title: Leave a note
input: {type: object, required: [path, note], additionalProperties: false, properties: {path: {type: string}, note: {type: string}}}
playbook: leave_note
agent: agent:office
triggers: [leave a note]
examples: []
subjects: {}
"""

PLAYBOOK = """\
schema: harness.playbook/v1
name: leave_note
steps:
  - id: leave
    do: filesystem.write_file
    with: {path: "${{ intent.path }}", content: "${{ intent.note }}"}
    on_failure:
      unavailable: [stop]
      timeout: [stop]
  - id: read
    do: filesystem.read_text_file
    with: {path: "${{ intent.path }}"}
  - id: result
    return: {left: "${{ steps.read.output.structuredContent.content }}"}
"""


def state_said(answer):
    """Where there is no run, nothing stands beside what was said."""
    return answer["structuredContent"]["state"]


async def served():
    """Over both of its transports: chosen operations and intents are tools, a read is answered, what writes waits for a
    person, and happens once."""
    folder = WORK / "served-files"
    folder.mkdir()
    front = Front("filesystem", [MODULES / ".bin/mcp-server-filesystem", folder], project="served")
    for kind, text in (("intents", INTENT), ("playbooks", PLAYBOOK)):
        (front.project / "pack" / kind).mkdir()
        (front.project / "pack" / kind / "leave_note.yaml").write_text(text)
    for client in (Python(front, SERVE), Http(front, SERVE)):
        about, file = f"served, {client.name}", folder / f"{client.name.replace(' ', '-')}.txt"
        file.write_text("before\n")
        async with client.connected() as ask:
            tools = await ask.tools()
            offered = {"filesystem__read_text_file", "filesystem__write_file", "leave_note", "harness_wait"}
            beside = [name for name in tools if name.startswith("filesystem__") and name not in offered]
            check(f"{about}: what was chosen is a tool, and nothing beside", offered <= set(tools) and not beside, tools)
            hints = {name: tools[name]["annotations"]["readOnlyHint"] for name in offered & set(tools)}
            reads = {"filesystem__read_text_file", "harness_wait"}
            check(f"{about}: what only looks says so", {name for name, hint in hints.items() if hint} == reads, hints)
            read = await ask("filesystem__read_text_file", {"path": str(file)})
            check(f"{about}: a read is answered", state(read) == "done" and "before" in str(read["structuredContent"]), read)
            wrong = await ask("filesystem__read_text_file", {"file": str(file)})
            check(f"{about}: arguments that do not fit make no run", wrong["isError"] and state_said(wrong) == "refused", wrong)
        is_text = lambda text: lambda: file.read_text() == text
        arguments = {"path": str(file), "content": "after\n"}
        await written(client, "filesystem__write_file", arguments, is_text("after\n"), reaches=("write_file", arguments))
        note = {"path": str(file), "note": "noted\n"}
        reaches = ("write_file", {"path": str(file), "content": "noted\n"})
        await written(client, "leave_note", note, is_text("noted\n"), says="noted", reaches=reaches)
    kept_apart(front)
