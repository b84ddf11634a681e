"""Each server: imported, read, written, as an operator and a person of an office would have it."""

import http.server
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

PROGRAM, KEPT = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
ONLY = sys.argv[3:]
PERMIT = '@id("office.all")\n@reason("The office uses its pack.")\npermit (principal, action, resource);\n'


class Failed(Exception):
    """What was not as it should be."""


def node(package, *arguments):
    start = KEPT / "node_modules/@modelcontextprotocol" / package / "dist/index.js"
    program = shutil.which("node")
    return {"run": [program, str(start), *arguments], "read": [str(Path(program).resolve()), str(KEPT / "node_modules")]}


def python(venv, module, *arguments, main=None):
    program = KEPT / venv / "bin/python"
    # Beside its own packages, the interpreter that it stands for, by every name on the way there.
    base = subprocess.run([program, "-c", "import sys; print(sys.base_prefix)"], capture_output=True, text=True, check=True)
    read = [str(KEPT / venv), base.stdout.strip() + "/lib"]
    while program.is_symlink():
        program = program.parent / os.readlink(program)
        read.append(str(program))
    program = KEPT / venv / "bin/python"
    start = ["-c", main] if main else ["-m", module]
    return {"run": [str(program), *start, *arguments], "read": read}


def servers(work, page):
    """What each server is started with, which tool only looks, and which one writes; what has to be in what it says."""
    repo, data = work / "repo", work / "data"
    return {
        "filesystem": {
            **node("server-filesystem", str(data)),
            "reads": ("read_text_file", {"path": str(data / "there.txt")}, "it was there"),
            "writes": ("write_file", {"path": str(data / "new.txt"), "content": "written once"}),
            "holds": lambda: (data / "new.txt").read_text() == "written once",
        },
        "memory": {
            **node("server-memory"),
            "environment": {"MEMORY_FILE_PATH": str(data / "memory.jsonl")},
            "reads": ("read_graph", {}, "entities"),
            "writes": ("create_entities", {"entities": [{"name": "Ada", "entityType": "person", "observations": ["counts"]}]}),
            "holds": lambda: (data / "memory.jsonl").read_text().count("Ada") == 1,
        },
        "everything": {
            **node("server-everything"),
            "reads": ("echo", {"message": "hello"}, "hello"),
            "writes": ("get-sum", {"a": 2, "b": 40}),
            "holds": lambda: True,
        },
        "git": {
            **python("python", "mcp_server_git", "--repository", str(repo)),
            "reads": ("git_status", {"repo_path": str(repo)}, "branch"),
            "writes": ("git_create_branch", {"repo_path": str(repo), "branch_name": "asked"}),
            "holds": lambda: "asked" in subprocess.run(["git", "-C", repo, "branch"], capture_output=True, text=True).stdout,
        },
        "time": {
            **python("python", "mcp_server_time", "--local-timezone", "UTC"),
            "reads": ("get_current_time", {"timezone": "UTC"}, "UTC"),
            "writes": ("convert_time", {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Europe/Berlin"}),
            "holds": lambda: True,
        },
        "sqlite": {
            **python("sqlite", "mcp_server_sqlite", "--db-path", str(data / "office.db"), main="from mcp_server_sqlite import main; main()"),
            "reads": ("list_tables", {}, ""),
            "writes": ("create_table", {"query": "create table asked (once text)"}),
            "holds": lambda: b"asked" in (data / "office.db").read_bytes(),
        },
        "fetch": {
            # Raw: to make text of a page, it would write into its own packages.
            **python("python", "mcp_server_fetch", "--ignore-robots-txt", "--allow-private-ips"),
            "asks": page,
            "reads": ("fetch", {"url": f"http://{page}/page", "raw": True}, "the page of this machine"),
            "writes": None,
            "holds": lambda: True,
        },
    }


class Office:
    def __init__(self, work, name, server):
        self.work, self.name, self.server = work, name, server

    def harness(self, *words, code=0):
        env = {key: value for key, value in os.environ.items() if not key.startswith("HARNESS_")}
        for variable, folder in (("HOME", "user"), ("XDG_CONFIG_HOME", "config"), ("XDG_DATA_HOME", "share")):
            env[variable] = str(self.work / folder)
        done = subprocess.run([PROGRAM, "-o", "json", *words], cwd=self.work, env=env, capture_output=True, text=True, timeout=300)
        if code is not None and done.returncode != code:
            raise Failed(f"harness {' '.join(words)} ended with {done.returncode}: {done.stdout}{done.stderr}")
        return json.loads(done.stdout) if done.stdout.strip() else {}

    def write(self, path, text):
        path = self.work / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def declare(self, packs):
        server = self.server
        environment = "".join(f"{key} = {json.dumps(value)}\n" for key, value in server.get("environment", {}).items())
        egress = ""
        if "asks" in server:
            host, port = server["asks"].split(":")
            egress = (
                f'[[systems.{self.name}.egress]]\nhost = "{host}"\nport = {port}\nscheme = "http"\n'
                f'methods = ["GET"]\npaths = ["/**"]\nprivate = ["{host}"]\n'
            )
        self.write(
            "harness.toml",
            f'store = "store"\npacks = {json.dumps(packs)}\nme = "ulla"\napprovals.terminal = "name"\n'
            f'[people.ulla]\nroles = ["requester", "operator"]\n[people.mira]\nroles = ["approver"]\n'
            f'[keys]\nreceipts = "file:keys/receipts.key"\n[policy]\noperator = ["operator.cedar"]\n'
            f'[systems.{self.name}]\nkind = "mcp"\nrun = {json.dumps(server["run"])}\n'
            f'[systems.{self.name}.profile]\n'
            + ("proxy_port = 3128\n" if egress else "")
            + f'paths = {{ read = {json.dumps(server["read"])}, write = {json.dumps([str(self.work / "data"), str(self.work / "repo")])} }}\n'
            f'[systems.{self.name}.profile.environment]\n{environment}{egress}',
        )

    def pack(self, operations):
        name = self.name
        asked = ", ".join(f"{name}.{operation}" for operation in operations.values())
        outside = f'"system:{name}"' if "asks" in self.server else ""
        self.write(
            "pack/pack.yaml",
            "schema: harness.pack/v1\nname: office\nversion: 0.1.0\nowner: tests\ndescription: A server.\nharness: \">=0.1\"\n"
            f"asks: {{operations: [{asked}], secrets: [], egress: [{outside}]}}\nroles: [approver]\nconstants: {{}}\n",
        )
        for intent, operation in operations.items():
            args = self.server[intent][1]
            kinds = {str: "string", int: "integer", list: "array", bool: "boolean"}
            properties = ", ".join(f"{key}: {{type: {kinds[type(value)]}}}" for key, value in args.items())
            self.write(
                f"pack/intents/{intent}.yaml",
                f"schema: harness.intent/v1\nname: {intent}\ntitle: Do it\ninput: {{type: object, required: [{', '.join(args)}], "
                f"additionalProperties: false, properties: {{{properties}}}}}\n"
                f"playbook: {intent}\nagent: agent:office\ntriggers: [{intent} it]\nexamples: []\nsubjects: {{}}\n",
            )
            filled = ", ".join(f'{key}: "${{{{ intent.{key} }}}}"' for key in args)
            self.write(
                f"pack/playbooks/{intent}.yaml",
                f"schema: harness.playbook/v1\nname: {intent}\nsteps:\n  - id: tool\n    do: {name}.{operation}\n    with: {{{filled}}}\n"
                "    on_failure:\n      unavailable: [stop]\n      timeout: [stop]\n"
                "  - id: result\n    return: ${{ steps.tool.output }}\n",
            )

    def submit(self, intent):
        inputs = json.dumps(self.server[intent][1])
        made = self.harness("intent", "submit", intent, "--json", inputs, "--idempotency-key", intent, code=None)
        run = made.get("run", made)
        if "id" not in run:
            raise Failed(f"{intent}: {made}")
        return self.harness("run", "get", run["id"])

    def play(self):
        self.write("operator.cedar", PERMIT)
        (self.work / "pack/connectors").mkdir(parents=True)
        self.declare([])
        draft = self.harness("mcp", "import", "--name", self.name, "--to", "pack/connectors")
        connector = self.work / f"pack/connectors/{self.name}.yaml"
        text = connector.read_text()
        if "effect:" in text:
            raise Failed("a draft says what a tool does to the world")
        operations = {which: name.replace("-", "_") for which in ("reads", "writes") if self.server[which] for name in [self.server[which][0]]}
        reads = operations["reads"]
        if f"\n  {reads}:\n" not in text:
            raise Failed(f"no operation {reads} in {draft}")
        extra = "    egress: true\n" if "asks" in self.server else ""
        text = text.replace(f"\n  {reads}:\n", f"\n  {reads}:\n    effect: read\n{extra}", 1)
        connector.write_text(text.replace("{confidentiality: public}", "{confidentiality: internal}"))
        self.pack(operations)
        self.declare(["pack"])
        self.harness("pack", "check", "pack")
        self.read()
        if self.server["writes"]:
            self.change()

    def read(self):
        run = self.submit("reads")
        said = json.dumps(run.get("output"))
        if run["run"]["status"] != "succeeded" or self.server["reads"][2] not in said:
            raise Failed(f"read: {json.dumps(run)[:2000]}")

    def change(self):
        run = self.submit("writes")
        waits = run.get("waiting_for") or []
        if not waits:
            raise Failed(f"a write that nobody was asked about: {json.dumps(run)[:2000]}")
        card = self.harness("approval", "get", waits[0])
        self.harness("--as", "mira", "approval", "approve", waits[0], "--digest", card["digest"], code=None)
        run = self.harness("run", "get", run["run"]["id"])
        if run["run"]["status"] != "succeeded" or not self.server["holds"]():
            raise Failed(f"write: {json.dumps(run)[:2000]}")
        receipts = [action["receipt"] for action in run["actions"] if action["operation"].startswith(f"{self.name}.")]
        if len(receipts) != 1:
            raise Failed(f"one write has the receipts {receipts}")
        self.harness("receipt", "get", receipts[0])


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        text = b"<html><body><p>This is the page of this machine.</p></body></html>"
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


def main():
    site = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=site.serve_forever, daemon=True).start()
    page = f"127.0.0.1:{site.server_address[1]}"
    passed = failed = 0
    for name in ONLY or list(servers(Path("/"), page)):
        with tempfile.TemporaryDirectory() as folder:
            work = Path(folder).resolve()
            (work / "data").mkdir()
            (work / "data/there.txt").write_text("it was there")
            subprocess.run(["git", "init", "-q", work / "repo"], check=True)
            subprocess.run(
                ["git", "-C", work / "repo", "-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-q", "--allow-empty", "-m", "one"],
                check=True,
            )
            try:
                Office(work, name, servers(work, page)[name]).play()
                print(f"{name}: imported, read and written through the gate", flush=True)
                passed += 1
            except (Failed, OSError, KeyError, ValueError, subprocess.SubprocessError) as error:
                print(f"{name}: {error!r}", flush=True)
                failed += 1
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


sys.exit(main())
