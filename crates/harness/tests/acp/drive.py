"""The official SDK's agents as workers of ours."""

import json
import pathlib
import subprocess
import sys
import tempfile
import traceback

HARNESS = str(pathlib.Path(sys.argv[1]).resolve())
HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[3]
PERMIT = '@id("all")\n@reason("a test")\npermit (principal, action, resource);\n'
DONE = []


def check(name, holds, told=""):
    DONE.append(bool(holds))
    print(("ok   " if holds else "FAIL ") + name + ("" if holds else f": {told}"), flush=True)


def command(folder, *words, code=0):
    ran = subprocess.run([HARNESS, "-o", "json", *words], cwd=folder, capture_output=True, text=True)
    if code is not None and ran.returncode != code:
        raise AssertionError(f"{words}: {ran.returncode} {ran.stdout} {ran.stderr}")
    return json.loads(ran.stdout) if ran.stdout else {}


def office(folder, how=()):
    """A project with the SDK's agent; its connector is what `connector import acp` drafts."""
    work = folder / "work"
    for below in ("work", "pack/connectors", "pack/playbooks", "pack/intents"):
        (folder / below).mkdir(parents=True)
    run = json.dumps([sys.executable, "-B", str(HERE / "agent.py"), *how])
    reads = json.dumps(sorted({sys.prefix, sys.base_prefix, str(HERE)}))
    config = (
        'store = "store"\nme = "ulla"\napprovals.terminal = "name"\n[people.ulla]\nroles = ["requester", "operator"]\n'
        '[people.mira]\nroles = ["approver"]\n[keys]\nreceipts = "file:keys/receipts.key"\n[policy]\noperator = ["operator.cedar"]\n'
        f'[systems.worker]\nkind = "acp"\nrun = {run}\n[systems.worker.profile]\nfolder = "{work}"\n'
        f'paths = {{ read = {reads}, write = ["{work}"] }}\n')
    (folder / "operator.cedar").write_text(PERMIT)
    (folder / "harness.toml").write_text("packs = []\n" + config)
    drafted = command(folder, "connector", "import", "acp", "worker", "--to", "pack/connectors")
    (folder / "pack/pack.yaml").write_text(
        "schema: harness.pack/v1\nname: team\nversion: 0.1.0\nowner: team\ndescription: Works.\nharness: \">=0.1\"\n"
        "asks: {operations: [worker.prompt], secrets: []}\nroles: [approver]\n")
    (folder / "pack/intents/work.yaml").write_text(
        "schema: harness.intent/v1\nname: work\ntitle: Work\nplaybook: work\nagent: agent:team\ntriggers: [work]\n"
        "input: {type: object, required: [text], properties: {text: {type: string}}}\n")
    (folder / "pack/playbooks/work.yaml").write_text(
        "schema: harness.playbook/v1\nname: work\nsteps:\n  - {id: task, do: worker.prompt, with: {text: \"${{ intent.text }}\"}}\n"
        "  - {id: out, return: \"${{ steps.task.output }}\"}\n")
    # A person says what may be sent there.
    connector = folder / "pack/connectors/worker.yaml"
    connector.write_text(connector.read_text().replace("confidentiality: public", "confidentiality: internal"))
    (folder / "harness.toml").write_text(f'packs = ["pack", "{ROOT / "packs" / "coding-agent"}"]\n' + config)
    return drafted


def serving(folder):
    serves = subprocess.Popen([HARNESS, "serve"], cwd=folder, stderr=subprocess.PIPE, text=True)
    assert serves.stderr.readline().startswith("serving ")
    return serves


def answer(folder, verb, run):
    approval = command(folder, "run", "get", run)["waiting_for"][0]
    card = command(folder, "approval", "get", approval)
    more = ["--reason", "no"] if verb == "deny" else ["--digest", card["digest"]]
    command(folder, "--as", "mira", "approval", verb, approval, "--timeout", "0s", *more, code=None)
    return card


def begin(folder, *lines):
    """A task that a person agreed to: a draft is taken to do what nobody can take back."""
    text = json.dumps({"text": "\n".join(lines)})
    run = command(folder, "intent", "submit", "work", "--json", text, "--timeout", "0s", code=None)["run"]["id"]
    once(folder, run, "asking")
    answer(folder, "approve", run)
    return run


def once(folder, run, status):
    while True:
        seen = command(folder, "run", "get", run)
        if seen["run"]["status"] == status:
            return seen
        if seen["run"]["status"] in ("succeeded", "failed", "cancelled", "needs_person"):
            raise AssertionError(f"{status}: {seen}")


def judged(folder, run, status):
    while True:
        items = command(folder, "run", "list", "--subject", f"run={run}")["items"]
        found = [item["id"] for item in items if item["status"] == status]
        if found:
            return found[0]
        seen = command(folder, "run", "get", run)
        if seen["run"]["status"] in ("succeeded", "failed", "cancelled", "needs_person"):
            raise AssertionError(f"{status}: {items} {seen}")


def works(folder):
    drafted = office(folder)
    check("import: who it is", drafted["title"] == "sdk-agent 1", drafted)
    check("import: one operation", drafted["files"][0]["operations"] == ["prompt"], drafted)
    command(folder, "pack", "check", "pack")
    check("import: the draft loads", True)
    serves = serving(folder)
    try:
        run = once(folder, begin(folder, "say Good morning.", "client", "fs /etc/passwd", "terminal id"), "succeeded")
        output = run["output"]
        check("a turn ends well", output["stop"] == "end_turn", run)
        check("what it said is told, what it thought is not",
              output["text"].startswith("Good morning.harness fs=False,False terminal=False"), output)
        check("files and terminals are refused", output["text"].endswith("fs -32601. terminal -32601. "), output)
        verified = command(folder, "receipt", "verify", run["run"]["id"])
        check("its receipt verifies", verified["verdict"] == "verified", verified)

        run = once(folder, begin(folder, "read a.txt"), "succeeded")
        used = run["output"]["uses"][0]
        check("a read is permitted once", run["output"]["text"] == "read-a.txt this-once. ", run)
        check("and by a run of its own", used["asked"]["allowed"] and used["status"] == "completed", used)
        own = once(folder, used["asked"]["run"], "succeeded")
        check("which ends as the agent says", own["output"] == {"ended": "well", "text": "done"}, own)
        verified = command(folder, "receipt", "verify", used["asked"]["run"])
        check("and has a receipt that verifies", verified["verdict"] == "verified", verified)

        run = begin(folder, "edit a.txt", "edit b.txt", "disguise c.txt", "run touch d.txt")
        first = judged(folder, run, "asking")
        check("a change waits", not (folder / "work/a.txt").exists())
        card = answer(folder, "approve", first)
        check("the card says what", "worker: edit" in card["summary"] and "a.txt" in card["summary"], card)
        once(folder, first, "succeeded")
        check("and happens once a person agreed", (folder / "work/a.txt").read_text() == "new\n")
        refused = judged(folder, run, "asking")
        answer(folder, "deny", refused)
        once(folder, refused, "failed")
        disguised = judged(folder, run, "asking")
        check("a no is a no", not (folder / "work/b.txt").exists())
        card = answer(folder, "deny", disguised)
        once(folder, disguised, "failed")
        check("a change that calls itself a read is a change", "changes a file" in card["summary"], card)
        card = answer(folder, "approve", judged(folder, run, "asking"))
        check("a command is shown as it is", card["summary"] == "The agent runs: touch d.txt", card)
        text = once(folder, run, "succeeded")["output"]["text"]
        check("the agent heard each answer",
              text == "edit-a.txt this-once. edit-b.txt not-now. disguise-c.txt not-now. run-1 this-once. ", text)
        check("and did what it might", (folder / "work/d.txt").exists() and not (folder / "work/c.txt").exists())

        run = begin(folder, "hang")
        while not (folder / "work/hangs").exists():
            command(folder, "run", "get", run)
        command(folder, "run", "cancel", run, code=None)
        while not (folder / "work/stopped").exists():
            command(folder, "run", "get", run)
        check("a cancelled run tells its agent", True)
        seen = once(folder, run, "needs_person")
        check("whether it did something, a person finds out", "in_doubt" in json.dumps(seen) or seen["troubles"], seen)
    finally:
        serves.terminate()
        serves.wait()


def asks_for_login(folder):
    """The draft of one that lets nobody in is that of any other; its call fails, and did nothing."""
    office(folder, ["login"])
    serves = serving(folder)
    try:
        run = once(folder, begin(folder, "say x"), "failed")
        told = json.dumps(run["troubles"])
        check("one that wants a login says so", "With a key" in told and "permission" in told, told)
    finally:
        serves.terminate()
        serves.wait()


def main():
    with tempfile.TemporaryDirectory() as folder:
        for name, part in (("works", works), ("login", asks_for_login)):
            try:
                (pathlib.Path(folder) / name).mkdir()
                part(pathlib.Path(folder).resolve() / name)
            except Exception:
                traceback.print_exc()
                check(f"{name}: to its end", False, "see above")
    passed = sum(DONE)
    print(f"{passed} passed, {len(DONE) - passed} failed", flush=True)
    sys.exit(0 if passed == len(DONE) else 1)


main()
