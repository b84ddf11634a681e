// An agent that is not ours, in front of systems that are: it speaks MCP through the proxy, people decide on their pages.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Office, browser as launch, complaints, first, picture, visit } from "./office.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const python = resolve(here, "../../../../target/upstreams/python/bin/python");

let office, browser, books;
before(async () => {
  [office, browser] = await Promise.all([Office.open({ packs: `["packs/customer-ops", "packs/books"]`, before: house }), launch()]);
});
after(async () => {
  await browser?.close();
  await office?.close();
  books?.kill("SIGKILL");
});

/** The house's own server in front of its CRM, and a pack for it in which somebody said what reads. */
async function house(office) {
  const script = join(here, "foreign/books.py");
  books = spawn(python, [script, office.place.url, join(office.dir, "secrets/crm")], { env: office.env, stdio: ["ignore", "pipe", "inherit"] });
  const url = await first(books.stdout);
  await answers(url);
  const pack = join(office.dir, "packs/books");
  mkdirSync(join(pack, "connectors"), { recursive: true });
  office.cli(["mcp", "import", "--name", "books", url, "--to", join(pack, "connectors"), "--proxied"]);
  office.edit("packs/books/connectors/books.yaml", "\n  read_risk:\n", "\n  read_risk:\n    effect: read\n");
  writeFileSync(join(pack, "pack.yaml"), `schema: harness.pack/v1
name: books
version: 1.0.0
owner: house
description: What the house's own server can do.
harness: ">=0.1"
asks: {operations: [books.read_risk, books.write_risk], secrets: [], egress: []}
roles: []
`);
  office.edit("harness.toml", `roles = ["requester", "operator"]`, `roles = ["requester", "operator", "admin"]`);
  office.edit("harness.toml", "[serve]\n", `[mcp]\nproxy = ["books"]\n[systems.books]\nkind = "mcp"\nurl = "${url}"\nshared = true\n[serve]\n`);
}

/** Until somebody listens there. */
async function answers(url) {
  for (;;) {
    try {
      await fetch(url);
      return;
    } catch {
      await new Promise((done) => setTimeout(done, 50));
    }
  }
}

/** An agent that begins: what it ends with. */
function agent(account, level) {
  const { token } = office.cli(["token", "create", "the risk agent", "--agent", "risk", "--owner", "ulla"]);
  const args = [join(here, "foreign/agent.py"), `${office.url}/mcp/proxy`, token, account, level];
  const child = spawn(python, args, { env: office.env, stdio: ["ignore", "pipe", "pipe"] });
  let said = "", errors = "";
  child.stdout.on("data", (data) => { said += data; });
  child.stderr.on("data", (data) => { errors += data; });
  return new Promise((done, fail) => child.once("exit", (code) => (code === 0 ? done(JSON.parse(said)) : fail(new Error(errors)))));
}

const level = async (account) => {
  const { tokens } = await (await fetch(`${office.place.url}/_world`)).json();
  const headers = { authorization: `Bearer ${tokens.crm.read ?? tokens.crm.write}` };
  return (await (await fetch(`${office.place.url}/crm/accounts/${account}/churn_risk`, { headers })).json()).Level;
};

/** The card that comes up in the inbox of somebody who was not told where to look. */
async function card(page) {
  await page.goto("/approvals");
  const link = page.locator("main a[href^='/approvals/']").first();
  await link.waitFor({ timeout: 60_000 });
  await link.click();
  await page.waitForURL("**/approvals/*");
}

/** That the receipts of every run verify: the agent's are the only ones here. */
function verified(least) {
  const runs = office.cli(["run", "list"]).items;
  assert.ok(runs.length >= least, JSON.stringify(runs));
  for (const run of runs) assert.equal(office.cli(["receipt", "verify", run.id]).verdict, "verified", run.id);
  return runs;
}

test("what an agent of others writes waits for a person at a page, and is done once", async () => {
  const page = await visit(browser, office, "mira");
  const before = await level("ACC-0007");
  const wanted = before === "high" ? "low" : "high";
  const ending = agent("ACC-0007", wanted);
  await card(page);
  assert.equal(await level("ACC-0007"), before, "nothing is written before a person agrees");
  await picture(page, "foreign-card");
  const shown = await page.locator("main").innerText();
  assert.match(shown, /ACC-0007/);
  assert.match(shown, /for person:ulla, handed in by agent:risk/, "whose call it is");
  await page.getByRole("button", { name: /^Approve/ }).click();
  const ended = await ending;
  assert.equal(ended.said, `The risk is ${wanted}.`, JSON.stringify(ended));
  assert.match(ended.heard[0], new RegExp(before));
  assert.equal(await level("ACC-0007"), wanted);
  assert.equal((await office.effects("crm.mark_churn_risk")).length, 1);
  verified(2);
  await page.context().close();
});

test("what a person denies is not done, and the agent hears it", async () => {
  const page = await visit(browser, office, "mira");
  const before = await level("ACC-0008");
  const ending = agent("ACC-0008", before === "high" ? "low" : "high");
  await card(page);
  await page.locator("#reason").fill("Ask the account's owner first.");
  await page.getByRole("button", { name: /^Deny/ }).click();
  const ended = await ending;
  assert.equal(ended.said, "It was not allowed.", JSON.stringify(ended));
  assert.equal(await level("ACC-0008"), before);
  verified(4);
  await page.context().close();
});

test("the browser had nothing to complain about", () => assert.deepEqual(complaints, []));
