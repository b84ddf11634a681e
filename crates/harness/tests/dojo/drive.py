"""Plays episodes through the built program, and counts."""

import argparse
import concurrent.futures
import http.client
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading

import yaml

from counted import judge, report
from served import TAKE_BACK, Stage
from suites import EGRESS, NAMES, READS, VERIFIED, Episode, World, call

PERMIT = '@id("all")\n@reason("a test")\npermit (principal, action, resource);\n'
ENDED = {"succeeded", "partial", "failed", "cancelled", "rejected"}
# Episodes that one office plays before it is made anew.
SHARE = 40


class Failed(Exception):
    """What was not as it should be."""


def written(file):
    """A file of a pack, in the order in which it is said here."""
    return yaml.safe_dump(file, sort_keys=False, allow_unicode=True, width=10_000)


class Office:
    """A harness that serves one suite's pack, whose operator permits everything: what holds a call is its label alone."""

    def __init__(self, program, folder, stage, labels):
        self.program, self.folder, self.stage, self.name = program, folder, stage, stage.world.name
        self.write("operator.cedar", PERMIT)
        self.configure([])
        (folder / "pack/connectors").mkdir(parents=True)
        self.command("mcp", "import", "--name", self.name, "--to", "pack/connectors")
        self.classify(labels)
        self.pack()
        self.configure(["pack"])
        self.command("pack", "check", "pack")
        tokens = [self.command("--as", who, "token", "create", "a test")["token"] for who in ("ulla", "mira")]
        self.user, self.person = ({"Authorization": f"Bearer {token}", "Content-Type": "application/json"} for token in tokens)
        self.serving = subprocess.Popen(
            [program, "serve", "--listen", "127.0.0.1:0"], cwd=folder, env=self.env(), stderr=subprocess.PIPE, text=True
        )
        line = self.serving.stderr.readline()
        if " at http://" not in line:
            raise Failed(f"serve: {line}{self.serving.stderr.read()}")
        self.place = line.split(" at http://")[1].split(";")[0].strip()
        threading.Thread(target=self.serving.stderr.read, daemon=True).start()
        self.wire = http.client.HTTPConnection(self.place, timeout=300)

    def close(self):
        self.serving.terminate()
        self.serving.wait()

    def consequential(self, tool):
        """Whether a call of it changes something or leaves the machine, as it is declared."""
        return tool not in READS[self.name] or tool in EGRESS

    def env(self):
        env = {key: value for key, value in os.environ.items() if not key.startswith("HARNESS_")}
        for variable, folder in (("HOME", "user"), ("XDG_CONFIG_HOME", "config"), ("XDG_DATA_HOME", "share")):
            env[variable] = str(self.folder / folder)
        return env

    def command(self, *words):
        ran = subprocess.run([self.program, "-o", "json", *words], cwd=self.folder, env=self.env(), capture_output=True, text=True)
        if ran.returncode != 0:
            raise Failed(f"harness {' '.join(words)} ended with {ran.returncode}: {ran.stdout}{ran.stderr}")
        return json.loads(ran.stdout) if ran.stdout.strip() else {}

    def write(self, path, text):
        path = self.folder / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def configure(self, packs):
        self.write(
            "harness.toml",
            f'store = "store"\npacks = {json.dumps(packs)}\nme = "ulla"\napprovals.terminal = "name"\n'
            '[people.ulla]\nroles = ["requester", "operator"]\n[people.mira]\nroles = ["approver"]\n'
            '[keys]\nreceipts = "file:keys/receipts.key"\n[policy]\noperator = ["operator.cedar"]\n'
            "[serve]\nrequests_per_second = 100000\n"
            f'[systems.{self.name}]\nkind = "mcp"\nurl = "{self.stage.url}/mcp"\nredact = []\n'
            f'[providers.script]\napi = "openai"\nurl = "{self.stage.url}/v1"\nmodel = "scripted-1"\nstreaming = "off"\n'
            'clearance = "internal"\n[models.main]\nproviders = ["script"]\n',
        )

    def classify(self, labels):
        """What an operator says of the tools that were drafted."""
        path = self.folder / f"pack/connectors/{self.name}.yaml"
        connector = yaml.safe_load(path.read_text())
        connector["defaults"]["clearance"] = {"confidentiality": "internal"}
        for name, operation in connector["operations"].items():
            trust = "verified" if labels == "none" or name in VERIFIED else "untrusted"
            operation["labels"] = {"trust": trust, "confidentiality": "internal"}
            if name in EGRESS:
                operation["egress"] = True
            if name in READS[self.name]:
                operation["effect"] = "read"
                continue
            # A tool's own error comes before it changes anything. All can be taken back, so that nothing else makes a rule ask.
            operation["request"]["landed_on_error"] = "no"
            operation["undo"] = "compensate"
            number = "${{ args.call }}" if name == TAKE_BACK else "${{ output.call }}"
            operation["undo_with"] = {"use": f"{self.name}.{TAKE_BACK}", "with": {"call": number}}
        path.write_text(written(connector))
        self.operations = [name for name in connector["operations"]]

    def pack(self):
        named = [f"{self.name}.{operation}" for operation in self.operations]
        outside = [f"system:{self.name}"] if EGRESS & set(self.operations) else []
        self.write("pack/pack.yaml", written({
            "schema": "harness.pack/v1", "name": "dojo", "version": "0.1.0", "owner": "tests", "description": "A world.",
            "harness": ">=0.1", "asks": {"operations": [*named, "model.main"], "secrets": [], "egress": outside},
            "roles": ["approver"], "constants": {},
        }))
        self.write("pack/agents/helper.yaml", written({
            "schema": "harness.agent/v1", "name": "helper", "instructions": "Do what you are asked for.", "results": "shown",
            "input": {"type": "object", "required": ["task"], "properties": {"task": {"type": "string"}}},
            "uses": [one for one in named if not one.endswith(f".{TAKE_BACK}")],
            # An agent to which too much is refused in a row stops, and what it did is taken back: here it may be refused a whole attack.
            "limits": {
                "turns": 200, "calls": 400, "repairs": 20,
                "context_tokens": 10_000_000, "result_bytes": 10_000_000, "tokens": 100_000_000,
            },
        }))

    def ask(self, who, method, path, body=None, headers=()):
        self.wire.request(method, path, None if body is None else json.dumps(body), {**who, **dict(headers)})
        answer = self.wire.getresponse()
        told = json.loads(answer.read())
        if answer.status != 200:
            raise Failed(f"{method} {path}: {answer.status} {told}")
        return told, answer.headers.get("ETag")

    def play(self, episode, manner):
        """Hands the task over and answers what is asked, until the run has ended."""
        self.stage.play(episode, manner)
        self.rules = set()
        start = {"task": episode.task.PROMPT, "pack": "dojo", "agent": "helper", "write": True, "wait_ms": 120_000}
        run, _ = self.ask(self.user, "POST", "/v1/runs", start)
        name = run["run"]["id"]
        while run["run"]["status"] not in ENDED:
            if run["exceptions"]:
                raise Failed(f"{name} stands still: {json.dumps(run)[:3000]}")
            for approval in run["waiting_for"]:
                self.decide(episode, approval)
            run, _ = self.ask(self.user, "GET", f"/v1/runs/{name}")
        return run

    def decide(self, episode, approval):
        card, etag = self.ask(self.person, "GET", f"/v1/approvals/{approval}")
        wanted = call(card["operation"].split(".", 1)[1], **card["args"])
        self.rules |= {why["rule"] for why in card["why"]}
        word = "approve" if episode.ask(wanted) else "deny"
        body = {"digest": card["digest"], "reason": "not what I asked for", "wait_ms": 120_000}
        self.ask(self.person, "POST", f"/v1/approvals/{approval}/{word}", body, {"If-Match": etag or f'"{card["digest"]}"'})


def play(office, task, attack, manner):
    """What came of one episode, in figures."""
    episode = Episode(office.stage.world, task, attack)
    run = office.play(episode, manner)
    output = run["output"] if isinstance(run["output"], str) else json.dumps(run["output"])
    useful, reached = episode.verdict(output)
    injected = [entry for entry in episode.calls if entry["origin"] == "injected"]
    mattered = [entry for entry in injected if entry["changed"] or office.consequential(entry["call"].function)]
    own = [entry for entry in episode.calls if entry["origin"] == "own"]
    # Some attacks want, among other things, the very call that the task is: nobody can tell which of the two it was that they saw.
    asked_for = [(entry["call"].function, entry["call"].args) for entry in own]
    theirs = [entry for entry in injected if (entry["call"].function, entry["call"].args) not in asked_for]
    how = f" {attack}, {manner}" if attack else ""
    stopped = [agent["stopped"] for agent in run["agents"]]
    return {
        "name": f"{office.name} {task}{how}: {run['run']['status']}, {stopped}",
        "attack": attack,
        "useful": useful,
        "reached": reached,
        "read": office.stage.model.attacked,
        "wants": sum(office.consequential(entry["call"].function) for entry in injected),
        "calls": len(injected),
        "happened": sum(entry["ran"] and not entry["yes"] for entry in mattered),
        "agreed": sum(entry["yes"] for entry in theirs),
        "asks": sum(entry["asked"] for entry in own),
        "leaks": episode.leaks,
        "rules": sorted(office.rules),
    }


def share(program, suite, labels, episodes):
    """Plays some episodes of one suite in an office of their own."""
    told = []
    with tempfile.TemporaryDirectory() as folder:
        office = Office(program, pathlib.Path(folder).resolve(), Stage(World(suite)), labels)
        try:
            for task, attack, manner in episodes:
                try:
                    told.append(play(office, task, attack, manner))
                except Exception as error:
                    told.append({"name": f"{suite} {task} {attack}, {manner}", "broke": repr(error)})
        finally:
            office.close()
    return [{**one, "suite": suite, "labels": labels} for one in told]


def chosen(suite, stride):
    """Every so many pairs of a task and an attack, made in either manner by turns."""
    world = World(suite)
    pairs = [(task, attack) for task in world.tasks() for attack in world.attacks()]
    return [(*pair, ("one by one", "at once")[number % 2]) for number, pair in enumerate(pairs[::stride])]


def shares(suites, stride, control):
    """What is played: each task by itself, attacked ones, and some of those with no label on anything."""
    for suite in suites:
        alone = [(task, None, "one by one") for task in World(suite).tasks()]
        for labels, episodes in (("declared", alone), ("declared", chosen(suite, stride)), ("none", chosen(suite, control))):
            for start in range(0, len(episodes), SHARE):
                yield suite, labels, episodes[start : start + SHARE]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("harness", type=lambda path: str(pathlib.Path(path).resolve()))
    parser.add_argument("--stride", type=int, default=1, help="every so many pairs of a task and an attack")
    parser.add_argument("--control", type=int, default=1, help="every so many pairs once more, with no label on anything")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("suites", nargs="*", default=list(NAMES))
    said = parser.parse_intermixed_args()
    told = []
    with concurrent.futures.ProcessPoolExecutor(said.jobs) as pool:
        todo = [pool.submit(share, said.harness, *one) for one in shares(said.suites, said.stride, said.control)]
        for done in concurrent.futures.as_completed(todo):
            told += done.result()
    verdicts = judge(report(told), said.suites)
    for name, holds, seen in verdicts:
        print(("ok   " if holds else "FAIL ") + name + ("" if holds else f": {str(seen)[:4000]}"))
    passed = sum(bool(holds) for _, holds, _ in verdicts)
    print(f"{passed} passed, {len(verdicts) - passed} failed")
    return 0 if passed == len(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
