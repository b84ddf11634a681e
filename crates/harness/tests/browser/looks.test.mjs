// Every page in every state, light and dark, wide and narrow: readable by everybody, inside its edges, and
// none beside the six places.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { Office, browser as launch, complaints, findings, visit } from "./office.mjs";

/** Steps of the long run: with them its journal has more than ten thousand events. */
const STEPS = 2_100;
const PLACES = ["approvals", "exceptions", "runs", "receipts", "rollback", "packs"];

/** An intent whose run is long: it reads the same account again and again. */
function lengthen(pack) {
  writeFileSync(join(pack, "intents/long_read.yaml"), `schema: harness.intent/v1
name: long_read
title: Read an account many times
input:
  type: object
  required: [accounts]
  additionalProperties: false
  properties:
    accounts: {type: array, maxItems: 3000, items: {type: string, pattern: "^ACC-[0-9]{4}$"}}
playbook: long_read
agent: agent:contracts
triggers: [read many times]
examples: [Read it many times]
`);
  writeFileSync(join(pack, "playbooks/long_read.yaml"), `schema: harness.playbook/v1
name: long_read
title: Many reads
steps:
  - id: each
    for_each: "\${{ intent.accounts }}"
    max: 3000
    as: account
    steps:
      - id: read
        do: crm.get_account
        with: {account: "\${{ account }}"}
`);
}

let office, browser, shown;
before(async () => {
  [office, browser] = await Promise.all([Office.open(), launch()]);
  const done = office.submit("renewal_risk_review", { account: "ACC-0042" }, "done");
  office.approveAll(done);
  const refund = office.refund("refund");
  const change = office.change("change");
  const question = office.submit("renewal_risk_review", { account: "ACC-0113" }, "question");
  const closed = office.change("closed", "ACC-0064");
  const denied = office.ask(closed);
  office.cli(["approval", "deny", denied, "--reason", "Not agreed."], "mira");
  await office.fault({ system: "mail", operation: "*", kind: "reset", phase: "after", on_call: 1 });
  const doubt = office.submit("renewal_risk_review", { account: "ACC-0042" }, "doubt");
  const { exceptions } = office.approveAll(doubt);
  await office.heal();
  const receipt = office.cli(["explain", done]).items[0].receipt;
  shown = {
    "/approvals": "mira", [`/approvals/${office.ask(refund)}`]: "mira", [`/approvals/${office.ask(change)}`]: "mira",
    [`/approvals/${office.ask(question)}`]: "mira", [`/approvals/${denied}`]: "mira",
    "/approvals/apr_00000000000000000000000000000000": "mira",
    "/exceptions": "mira", "/exceptions?all=true": "mira", [`/exceptions/${exceptions[0]}`]: "mira",
    "/runs": "mira", "/runs?status=paused": "mira", "/runs?status=nonsense": "mira", [`/runs/${done}`]: "mira", [`/runs/${done}?view=table`]: "mira",
    [`/runs/${done}?view=events`]: "mira", [`/runs/${refund}`]: "mira", [`/runs/${doubt}`]: "mira",
    "/receipts": "mira", [`/receipts?run=${done}`]: "mira", [`/receipts/${receipt}`]: "mira", [`/receipts/verify?run=${done}`]: "mira",
    [`/rollback/${done}`]: "mira", "/packs": "mira", "/packs/customer-ops": "mira",
  };
});
after(async () => { await browser?.close(); await office?.close(); });

for (const scheme of ["light", "dark"]) {
  for (const width of [1440, 390]) {
    test(`nothing stands in anybody's way: ${scheme}, ${width} px`, async () => {
      for (const person of ["ulla", "lars", "mira"]) {
        const page = await visit(browser, office, person, { scheme, width, expected: [400, 404] });
        const only = person === "mira" ? Object.keys(shown) : Object.keys(shown).filter((path) => /^\/(approvals|exceptions|rollback)\/./.test(path));
        for (const path of only) {
          await page.goto(path);
          // Opened, so that what is folded away is looked at too.
          await page.evaluate(() => { for (const fold of document.querySelectorAll("main details")) fold.open = true; });
          assert.deepEqual(await findings(page), [], `${person} at ${path}`);
          const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
          assert.ok(wide <= 0, `${path} is ${wide} px too wide`);
          if (process.env.HARNESS_UI_SHOTS) {
            const name = `${person}${path.replace(/[^a-z0-9]+/gi, "-").slice(0, 40)}-${width}-${scheme}.png`;
            await page.screenshot({ path: join(process.env.HARNESS_UI_SHOTS, name), fullPage: true });
          }
        }
        await page.context().close();
      }
    });
  }
}

test("the door is readable too", async () => {
  for (const colorScheme of ["light", "dark"]) {
    const context = await browser.newContext({ baseURL: office.url, colorScheme, viewport: { width: 390, height: 844 } });
    const page = await context.newPage();
    for (const path of ["/sign-in", "/sign-in?refused=1", "/sign-in?link=hnl_x", "/runs"]) {
      await page.goto(path);
      assert.match(page.url(), /sign-in/);
      assert.deepEqual(await findings(page), [], path);
    }
    await context.close();
  }
});

test("six places, and nothing else is linked from anywhere", async () => {
  const page = await visit(browser, office, "mira", { expected: [400, 404] });
  const names = await page.locator(".top > nav a").evaluateAll((all) => all.map((a) => a.getAttribute("href")));
  assert.deepEqual(names, ["/approvals", "/exceptions", "/runs", "/receipts", "/packs"]);
  const seen = new Set();
  for (const path of Object.keys(shown)) {
    await page.goto(path);
    const links = await page.locator("a[href], form[action]").evaluateAll((all) => all.map((node) => new URL(node.href ?? node.action, location.href).pathname));
    for (const link of links) seen.add(link.split("/")[1]);
  }
  for (const extra of ["", "sign-in", "sign-out"]) seen.delete(extra);
  assert.deepEqual([...seen].sort(), [...PLACES].sort());
  await page.context().close();
});

test("what pages load is ours, for ever, and nothing runs that is written into a page", async () => {
  const page = await visit(browser, office, "mira");
  const answers = [];
  page.on("response", (response) => answers.push(response));
  const document = await page.goto("/approvals");
  const policy = document.headers()["content-security-policy"];
  assert.ok(policy.includes("default-src 'none'") && !policy.includes("unsafe"), policy);
  const text = await document.text();
  assert.ok(!/ style=| on[a-z]+=|javascript:/.test(text), "nothing inline");
  for (const response of answers.filter((answer) => answer.url().includes("/assets/"))) {
    assert.match(response.headers()["cache-control"], /immutable/);
    assert.equal(new URL(response.url()).origin, office.url);
  }
  await page.context().close();
});

test("an ask that expires while it is open goes dead where it stands", async () => {
  const brief = await Office.open({ approvals: "expires_ms = 6000" });
  try {
    const ask = brief.ask(brief.refund("brief"));
    const page = await visit(browser, brief, "mira");
    await page.goto(`/approvals/${ask}`);
    await page.locator("#reason").fill("half a reason");
    await page.locator("#live.on").waitFor();
    await page.locator("#outcome", { hasText: "Nobody answered in time" }).or(page.locator("#expired:not([hidden])")).first().waitFor();
    assert.equal(await page.getByRole("button", { name: /^Approve/ }).and(page.locator(":enabled")).count(), 0);
    await page.locator("#outcome", { hasText: "Nobody answered in time" }).waitFor();
    await page.context().close();
  } finally { await brief.close(); }
});

test("a card whose time is up by the clock of the browser is dead too", async () => {
  const ask = office.ask(office.refund("slow"));
  const page = await visit(browser, office, "mira");
  await page.clock.install();
  await page.goto(`/approvals/${ask}`);
  await page.getByRole("button", { name: /^Approve/ }).waitFor();
  await page.clock.fastForward("25:00:00");
  await page.locator("#expired:not([hidden])").waitFor();
  assert.equal(await page.getByRole("button", { name: /^Approve/ }).count(), 0);
  await page.context().close();
});

test("a run of ten thousand events opens at once, a window at a time", async (told) => {
  const long = await Office.open({ pack: lengthen, more: "[budget]\ncalls_max = 5000\nwrites_max = 50\nwall_max_ms = 2592000000" });
  try {
    const run = long.submit("long_read", { accounts: Array(STEPS).fill("ACC-0007") }, "long");
    const { events, status } = long.run(run).run;
    assert.equal(status, "succeeded");
    assert.ok(events > 10_000, `${events} events`);
    const page = await visit(browser, long, "mira");
    const begun = performance.now();
    const document = await page.goto(`/runs/${run}`);
    assert.equal(await page.locator(".lanes > li").count(), 100);
    // A figure to read, not a limit: machines differ.
    told.diagnostic(`opened ${events} events in ${Math.round(performance.now() - begun)} ms`);
    const size = (await document.text()).length;
    assert.ok(size < 400_000, `${size} bytes: what freezes a browser is how much it is given`);
    await page.getByText(`1–100 of ${STEPS} steps`).waitFor();
    await page.getByRole("link", { name: "Later steps" }).click();
    await page.getByText(`101–200 of ${STEPS} steps`).waitFor();
    await page.goto(`/runs/${run}?view=events&after=10000`);
    await page.getByRole("cell", { name: "10000", exact: true }).waitFor();
    await page.context().close();
  } finally { await long.close(); }
});

test("no page complained", () => assert.deepEqual(complaints, []));
