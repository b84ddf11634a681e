// Texts that want to be more than texts, in every field that somebody can write: none runs, none hides.
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { Office, browser as launch, complaints, visit } from "./office.mjs";

/** Breaks out of elements, attributes and scripts, turns the direction of writing, hides between letters. */
const hostile = (name) => `</textarea></title><script>alert("${name}")</script><img src=/x onerror=alert(1)>"'><svg onload=alert(2)> \u202Egpj.exe \u2066a\u200Bb`;
/** The same as it may stand in a double-quoted text of YAML. */
const quoted = (name) => JSON.stringify(hostile(name));

function poison(pack) {
  const edit = (path, pairs) => {
    let text = readFileSync(join(pack, path), "utf8");
    for (const [from, to] of pairs) {
      assert.match(text, from, path);
      text = text.replace(from, to);
    }
    writeFileSync(join(pack, path), text);
  };
  edit("pack.yaml", [[/^owner: .*$/m, () => `owner: ${quoted("owner")}`], [/^description: >-\n(  .*\n)+/m, () => `description: ${quoted("description")}\n`]]);
  edit("intents/goodwill_refund.yaml", [[/^title: .*$/m, () => `title: ${quoted("title")}`]]);
  edit("kpis.yaml", [[/title: Runs completed/, () => `title: ${quoted("kpi")}`]]);
}

let office, browser, shown;
before(async () => {
  [office, browser] = await Promise.all([Office.open({ pack: poison, more: "" }), launch()]);
  const refund = (key, reason) => office.submit("goodwill_refund", { invoice: "in_000042_1", amount: 24000, currency: "eur", reason }, key);
  const waiting = refund("waits", hostile("reason"));
  const denied = refund("denied", hostile("reason"));
  const closed = office.ask(denied);
  office.cli(["approval", "deny", closed, "--reason", hostile("denial")], "mira");
  office.cli(["approval", "assign", office.ask(waiting), "--to", "nora", "--note", hostile("note")], "mira");
  const aside = refund("aside", "plain");
  office.cli(["approval", "set-aside", office.ask(aside), "--note", hostile("aside")], "mira");
  const steered = refund("steered", hostile("reason"));
  try { office.cli(["run", "tell", steered, hostile("steering")]); } catch { /* a playbook is told nothing */ }
  office.cli(["run", "cancel", steered, "--reason", hostile("cancel")]);
  office.cli(["token", "create", hostile("token").slice(0, 60)]);
  const done = refund("done", hostile("reason"));
  office.approveAll(done);
  // The systems are strangers, too: what they answer stands in evidence, samples and differences.
  await office.fault({ system: "crm", operation: "crm.get_account", kind: "name_mismatch", value: hostile("system") });
  const review = office.submit("renewal_risk_review", { account: "ACC-0042" }, "review");
  await office.heal();
  await office.fault({ system: "crm", operation: "crm.get_account", kind: "403" });
  const stuck = office.submit("contract_field_change", { account: "ACC-0007", field: "PaymentTermsDays", value: "45", reason: hostile("reason") }, "stuck");
  await office.heal();
  const exception = office.run(stuck).exceptions[0];
  office.cli(["exception", "set-aside", exception, "--note", hostile("exception note")]);
  await office.fault({ system: "crm", operation: "crm.get_account", kind: "403" });
  const ended = office.submit("contract_field_change", { account: "ACC-0064", field: "PaymentTermsDays", value: "45", reason: hostile("reason") }, "ended");
  await office.heal();
  const settled = office.run(ended).exceptions[0];
  office.cli(["exception", "settle", settled, "stop", "--evidence", hostile("evidence")]);
  const receipt = office.cli(["explain", done]).items.at(-1).receipt;
  const query = encodeURIComponent(hostile("query"));
  const asks = [waiting, aside, review].flatMap((run) => office.run(run).waiting_for);
  shown = [
    "/approvals", ...asks.map((ask) => `/approvals/${ask}`), `/approvals/${closed}`, `/approvals/${query}`,
    "/exceptions", "/exceptions?all=true", `/exceptions?owner=${query}`, `/exceptions/${exception}`, `/exceptions/${settled}`,
    "/runs", `/runs?intent=${query}&agent=${query}&customer=${query}&since=${query}`, `/runs?status=${query}`,
    ...[waiting, denied, steered, done, review, stuck, ended].flatMap((run) => [`/runs/${run}`, `/runs/${run}?view=table`, `/runs/${run}?view=events`]),
    "/receipts", `/receipts?run=${query}`, `/receipts?run=${done}`, `/receipts/${receipt}`, `/receipts/verify?run=${done}`, `/receipts/verify?run=${query}`,
    `/rollback/${done}`, `/rollback/${query}`, "/packs", "/packs/customer-ops", `/packs/${query}`,
    `/nowhere/${query}`, `/sign-in?to=${query}&refused=${query}`, `/sign-in?link=${query}`,
  ];
});
after(async () => { await browser?.close(); await office?.close(); });

/** What stands on a page raw that must not, and how many texts of ours were met. */
const look = () => {
  const hidden = /[\u00AD\u061C\u200B-\u200F\u202A-\u202E\u2060-\u206F\uFEFF]/u;
  const found = [], walk = document.createTreeWalker(document.documentElement, NodeFilter.SHOW_TEXT);
  let met = 0;
  for (let node = walk.nextNode(); node; node = walk.nextNode()) {
    if (hidden.test(node.nodeValue)) found.push(`text: ${node.parentElement.outerHTML.slice(0, 200)}`);
    if (node.nodeValue.includes("<U+202E>")) met += 1;
  }
  for (const node of document.querySelectorAll("*")) {
    for (const { name, value } of node.attributes) {
      if (hidden.test(value)) found.push(`${name}: ${node.outerHTML.slice(0, 200)}`);
      if (/^on|^style$|^srcdoc$/.test(name)) found.push(`${name}: ${node.outerHTML.slice(0, 200)}`);
    }
  }
  for (const node of document.querySelectorAll("img, iframe, object, embed, base, main script, main style")) found.push(node.outerHTML.slice(0, 200));
  return { found, met };
};

for (const script of [true, false]) {
  test(`no text runs or hides on any page${script ? "" : ", without a script either"}`, async (told) => {
    const page = await visit(browser, office, "mira", { expected: [400, 401, 404, 422], script });
    const dialogs = [];
    page.on("dialog", (dialog) => { dialogs.push(dialog.message()); dialog.dismiss(); });
    const met = {};
    for (const path of shown) {
      await page.goto(path);
      if (script) await page.evaluate(() => { for (const fold of document.querySelectorAll("details")) fold.open = true; });
      const seen = await page.evaluate(look);
      assert.deepEqual(seen.found, [], path);
      if (seen.met) met[path] = seen.met;
    }
    assert.deepEqual(dialogs, []);
    told.diagnostic(`spelled out on ${Object.keys(met).length} of ${shown.length} pages`);
    const some = (start) => Object.keys(met).some((path) => path.startsWith(start));
    for (const start of ["/approvals/apr", "/exceptions/exc", "/runs/run", "/packs"]) assert.ok(some(start), `${start}: ${JSON.stringify(met)}`);
    await page.context().close();
  });
}

test("what is patched into a page is text, too", async () => {
  const run = office.submit("goodwill_refund", { invoice: "in_000042_1", amount: 100, currency: "eur", reason: hostile("live") }, "live");
  const page = await visit(browser, office, "nora", { expected: [400] });
  page.on("dialog", (dialog) => assert.fail(dialog.message()));
  const ask = office.ask(run);
  await page.goto(`/approvals/${ask}`);
  await page.locator("#live.on").waitFor();
  office.cli(["approval", "deny", ask, "--reason", hostile("patched")], "mira");
  await page.locator("#outcome", { hasText: "Denied by person:mira" }).waitFor();
  assert.deepEqual((await page.evaluate(look)).found, []);
  await page.context().close();
});

test("no page complained", () => assert.deepEqual(complaints, []));
