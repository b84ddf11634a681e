// People at work, in a real browser, on a real server over the demo world.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Office, browser as launch, complaints, findings, picture, visit } from "./office.mjs";

let office, browser;
before(async () => { [office, browser] = await Promise.all([Office.open(), launch()]); });
after(async () => { await browser?.close(); await office?.close(); });

/** The same document as before: nothing was loaded again meanwhile. */
const mark = (page) => page.evaluate(() => { window.same = true; });
const isSame = (page) => page.evaluate(() => window.same === true);
const outcome = (page, text) => page.locator("#outcome", { hasText: text });
const live = (page) => page.locator("#live.on").waitFor();

async function closing(page, body) {
  try { await body(page); } finally { await page.context().close(); }
}

test("an approval lets the run go on, and whoever watches sees it without loading again", async () => {
  const run = office.refund("watched");
  const ask = office.ask(run);
  const watching = await visit(browser, office, "lars");
  await watching.goto(`/runs/${run}`);
  await live(watching);
  await mark(watching);
  await watching.getByText("Waiting for a person").waitFor();
  await closing(await visit(browser, office, "mira"), async (page) => {
    await page.goto(`/approvals/${ask}`);
    await page.getByRole("button", { name: "Approve: create refund" }).click();
    await outcome(page, "Approved by you").waitFor();
    await page.locator(".tag", { hasText: "Succeeded" }).waitFor();
    await page.getByText("its digest is the one the answer carries").waitFor();
  });
  await closing(watching, async () => {
    await watching.locator(".tag", { hasText: "Succeeded" }).waitFor();
    assert.ok(await isSame(watching), "patched, not loaded again");
  });
  assert.equal(office.run(run).run.status, "succeeded");
});

test("of two who race for one approval one decides, and the other is told who and when", async () => {
  const ask = office.ask(office.refund("raced"));
  const mira = await visit(browser, office, "mira");
  const nora = await visit(browser, office, "nora");
  // Without a script her page stands still: she still sees an open card when she presses.
  const still = await visit(browser, office, "nora", { script: false, expected: [409] });
  for (const page of [mira, nora, still]) await page.goto(`/approvals/${ask}`);
  await live(nora);
  await mark(nora);
  await mira.getByRole("button", { name: /^Approve/ }).click();
  await outcome(mira, "Approved by you").waitFor();
  await outcome(nora, "Approved by person:mira").waitFor();
  assert.ok(await isSame(nora));
  assert.equal(await nora.locator("#decide").count(), 0, "nothing is left to press");
  await still.getByRole("button", { name: /^Approve/ }).click();
  await still.getByText("Your answer did not count").waitFor();
  await outcome(still, "Approved by person:mira").waitFor();
  for (const page of [mira, nora, still]) await page.context().close();
});

test("two presses at the same moment count once", async () => {
  const run = office.refund("together");
  const ask = office.ask(run);
  const pages = [];
  for (const person of ["mira", "nora"]) {
    const page = await visit(browser, office, person, { expected: [409] });
    await page.goto(`/approvals/${ask}`);
    pages.push(page);
  }
  await Promise.all(pages.map((page) => page.getByRole("button", { name: /^Approve/ }).click()));
  for (const page of pages) await outcome(page, "Approved by").waitFor();
  const explained = office.cli(["explain", run]).items[0];
  assert.equal(explained.approved_by.length, 1, JSON.stringify(explained.approved_by));
  for (const page of pages) await page.context().close();
});

test("a denial says why, and one without a reason is not one", async () => {
  const run = office.change("denied");
  const ask = office.ask(run);
  await closing(await visit(browser, office, "mira", { expected: [400] }), async (page) => {
    await page.goto(`/approvals/${ask}`);
    await page.getByRole("button", { name: /^Deny/ }).click();
    await page.getByRole("alert").getByText("a denial says why").waitFor();
    assert.equal(await page.locator("#reason").getAttribute("aria-invalid"), "true");
    assert.equal(office.ask(run), ask, "it still waits");
    await page.locator("#reason").fill("Not agreed in writing.");
    await page.locator("#reason").press("Enter");
    await outcome(page, "Denied by you").waitFor();
    await page.getByText("Not agreed in writing.").waitFor();
  });
  assert.equal(office.run(run).run.status, "failed");
});

test("other arguments walk the whole gate again and are asked again", async () => {
  const run = office.refund("edited");
  const ask = office.ask(run);
  await closing(await visit(browser, office, "mira"), async (page) => {
    await page.goto(`/approvals/${ask}`);
    await page.getByText("Change the arguments and ask again").click();
    const field = page.locator("#edit textarea");
    await field.fill((await field.inputValue()).replace("24000", "1000"));
    await page.getByRole("button", { name: "Ask again with these" }).click();
    await page.getByText("Asked again with other arguments").waitFor();
    const again = office.ask(run);
    assert.notEqual(again, ask);
    await page.goto(`/approvals/${again}`);
    await page.getByText("Moves EUR 10.00").waitFor();
    await page.getByRole("button", { name: /^Approve/ }).click();
    await outcome(page, "Approved by you").waitFor();
  });
  assert.equal(office.run(run).output.amount, 1000);
});

test("before a run is taken back one sees what stays and what each undo changes", async () => {
  const run = office.submit("renewal_risk_review", { account: "ACC-0042" }, "back");
  office.approveAll(run);
  await closing(await visit(browser, office, "ulla"), async (page) => {
    await page.goto(`/runs/${run}`);
    await page.getByRole("link", { name: "Roll back…" }).click();
    const headings = await page.getByRole("heading", { level: 2 }).allTextContents();
    assert.deepEqual(headings.slice(0, 2), ["This stays, whatever you do", "This is taken back, in this order"]);
    await page.getByText("It cannot be taken back").waitFor();
    assert.ok(await page.locator("ins", { hasText: "commit" }).count(), "the difference stands there");
    await page.getByRole("button", { name: /Take back 2 effects/ }).click();
    await page.getByText("The last rollback").waitFor();
    assert.equal(await page.getByText("Restored", { exact: true }).count(), 2);
    await page.getByText("Partial", { exact: true }).waitFor();
  });
  assert.equal(office.run(run).run.status, "partly_rolled_back");
});

test("a doubt is settled by somebody who says how they know", async () => {
  await office.fault({ system: "mail", operation: "*", kind: "reset", phase: "after", on_call: 1 });
  const run = office.submit("renewal_risk_review", { account: "ACC-0042" }, "doubt");
  const detail = office.approveAll(run);
  await office.heal();
  assert.equal(detail.run.status, "needs_person", JSON.stringify(detail));
  await closing(await visit(browser, office, "ulla"), async (page) => {
    await page.goto("/exceptions");
    await page.getByRole("link", { name: /Nobody knows whether it happened/ }).click();
    await page.getByText("It happened", { exact: true }).first().click();
    await page.locator("#verb-happened textarea").fill("It is in the outbox of the mail server.");
    await page.locator("#verb-happened button").click();
    await page.getByText(/Settled: happened, by person:ulla/).waitFor();
    await page.getByText("It is in the outbox of the mail server.").first().waitFor();
  });
  assert.equal(office.run(run).exceptions.length, 0);
});

test("a conflict is shown with its difference and overwritten only when that is said", async () => {
  const run = office.change("moved", "ACC-0031");
  office.approveAll(run);
  const { tokens } = await (await fetch(`${office.place.url}/_world`)).json();
  const meddled = await fetch(`${office.place.url}/crm/contracts/CTR-0031`, {
    method: "PATCH",
    headers: { authorization: `Bearer ${tokens.crm.write}`, "content-type": "application/json", "idempotency-key": "by-hand" },
    body: JSON.stringify({ Terms: { PaymentTermsDays: 60 } }),
  });
  assert.equal(meddled.status, 200);
  await closing(await visit(browser, office, "ulla"), async (page) => {
    await page.goto(`/rollback/${run}`);
    await page.getByRole("button", { name: /Take back 1 effect/ }).click();
    await page.getByText("The world moved", { exact: true }).waitFor();
    await page.getByLabel(/I have seen the difference/).check();
    await page.getByRole("button", { name: /Take back/ }).click();
    await page.getByText("Complete", { exact: true }).waitFor();
  });
});

test("a server that is away is told, and what was missed is there once it is back", async () => {
  const run = office.refund("away");
  const ask = office.ask(run);
  await closing(await visit(browser, office, "mira", { expected: ["gone"] }), async (page) => {
    await page.goto(`/approvals/${ask}`);
    await live(page);
    await mark(page);
    await page.locator("#reason").fill("half a sen");
    const at = new URL(office.url).host;
    await office.rest();
    await page.getByText("Reconnecting").waitFor();
    assert.ok(await page.locator("body.stale").count());
    await office.serve(at);
    await live(page);
    await page.locator("body:not(.stale)").waitFor();
    assert.equal(await page.locator("#reason").inputValue(), "half a sen", "what somebody types stays");
    const card = office.cli(["approval", "get", ask], "nora");
    office.cli(["approval", "approve", ask, "--digest", card.digest], "nora");
    await outcome(page, "Approved by person:nora").waitFor();
    assert.ok(await isSame(page));
  });
});

test("a list that is slow to come says that it is loading", async () => {
  await closing(await visit(browser, office, "mira"), async (page) => {
    await page.goto("/approvals");
    await live(page);
    // What people look at while the service holds its answer back: a locator would wait for the next page.
    const seen = page.evaluate(() => new Promise((seen) => {
      const look = () => document.body.classList.contains("loading") && seen({
        busy: document.querySelector("main").getAttribute("aria-busy"),
        told: document.querySelector("[role=status]").textContent, at: location.pathname,
      });
      new MutationObserver(look).observe(document, { attributes: true, childList: true, subtree: true });
    }));
    await page.route("**/runs?*", async (route) => { await seen; await route.continue(); });
    await page.evaluate(() => setTimeout(() => location.assign("/runs?status=failed")));
    assert.deepEqual(await seen, { busy: "true", told: "Loading", at: "/approvals" });
    await page.waitForURL("**/runs?*");
    await live(page);
    assert.equal(await page.locator("body.loading").count(), 0, "what came is not busy");
  });
});

test("what waits is counted live in the bar, and the list fills by itself", async () => {
  await closing(await visit(browser, office, "mira"), async (page) => {
    await live(page);
    const before = await page.locator("#inbox .item").count();
    const ask = office.ask(office.refund("counted", 500));
    await page.locator(`#item-${ask}`).waitFor();
    assert.equal(await page.locator("#inbox .item").count(), before + 1);
    assert.match(await page.locator("#places .count").first().textContent(), new RegExp(`^${before + 1}`));
  });
});

test("without a script everything is there: forms, menus, filters", async () => {
  const ask = office.ask(office.change("plain", "ACC-0088"));
  await closing(await visit(browser, office, "mira", { script: false, width: 390, height: 844 }), async (page) => {
    await page.locator("details.menu > summary").click();
    await page.locator("details.menu").getByRole("link", { name: "Runs" }).click();
    await page.waitForURL("**/runs");
    await page.getByLabel("State").selectOption("asking");
    await page.getByRole("button", { name: "Filter" }).click();
    assert.match(page.url(), /status=asking/);
    await page.goto(`/approvals/${ask}`);
    await page.getByRole("button", { name: /^Set aside/ }).click();
    await page.getByText("set aside by you").waitFor();
    await page.goto(`/approvals/${ask}`);
    await page.locator("#reason").fill("Nobody signed.");
    await page.getByRole("button", { name: /^Deny/ }).click();
    await outcome(page, "Denied by you").waitFor();
  });
});

test("on a narrow screen the decision covers nothing", async () => {
  const ask = office.ask(office.change("narrow", "ACC-0064"));
  await closing(await visit(browser, office, "mira", { width: 390, height: 844 }), async (page) => {
    await page.goto(`/approvals/${ask}`);
    assert.equal(await page.locator(".decide").evaluate((bar) => getComputedStyle(bar).position), "static");
    assert.equal(await page.locator(".rail").isVisible(), false);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(wide <= 390, `${wide} px`);
    const small = await page.locator(".decide button").evaluateAll((all) => all.filter((b) => b.getBoundingClientRect().height < 44).length);
    assert.equal(small, 0, "big enough for a thumb");
  });
});

test("with keys alone: move, open, hold, decide; and no single key decides", async () => {
  const run = office.change("keys", "ACC-0113");
  const ask = office.ask(run);
  await closing(await visit(browser, office, "mira"), async (page) => {
    const keys = page.keyboard;
    await keys.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement.className), "skip");
    await page.locator(`#item-${ask}`).waitFor();
    const there = () => page.evaluate(() => document.activeElement.getAttribute("href"));
    const many = await page.locator("[data-item]").count();
    for (let n = 0; n <= many && (await there()) !== `/approvals/${ask}`; n += 1) await keys.press("j");
    for (let n = 0; n <= many && (await there()) !== `/approvals/${ask}`; n += 1) await keys.press("k");
    assert.equal(await there(), `/approvals/${ask}`);
    await keys.press("Enter");
    await page.waitForURL(`**/approvals/${ask}`);
    for (const key of ["a", "s", "j", "k", "y", "x", "1"]) await keys.press(key);
    assert.equal(office.ask(run), ask, "nothing was decided");
    await keys.press("?");
    await page.locator("#help[open]").waitFor();
    await keys.press("Escape");
    await keys.press("d");
    assert.equal(await page.evaluate(() => document.activeElement.id), "reason");
    await keys.type("a reason with a and d");
    await keys.press("Escape");
    await keys.press("a");
    assert.match(await page.evaluate(() => document.activeElement.textContent), /^Approve/);
    await keys.press("Enter");
    await outcome(page, "Approved by you").waitFor();
    await keys.press("g");
    await keys.press("r");
    await page.waitForURL("**/runs");
    await keys.press("/");
    assert.equal(await page.evaluate(() => document.activeElement.name), "status");
  });
});

test("a typed question has a control for each of its fields, and the run goes on with the answer", async () => {
  const run = office.submit("renewal_risk_review", { account: "ACC-0113" }, "question");
  const ask = office.ask(run);
  await closing(await visit(browser, office, "mira"), async (page) => {
    await page.goto(`/approvals/${ask}`);
    await page.locator('input[name="value.NoticePeriodDays"]').fill("30");
    await page.getByLabel("No", { exact: true }).check();
    await page.getByRole("button", { name: /^Answer/ }).click();
    await outcome(page, "Answered by you").waitFor();
  });
  assert.notEqual(office.ask(run), ask);
});

test("who may not decide is told why and who can", async () => {
  const ask = office.ask(office.refund("looked at"));
  await closing(await visit(browser, office, "lars"), async (page) => {
    await page.goto(`/approvals/${ask}`);
    await page.getByText("You cannot decide this").waitFor();
    await page.getByText(/somebody else who holds finance can/).waitFor();
    assert.equal(await page.getByRole("button", { name: /^Approve/ }).count(), 0);
  });
});

test("who looks after an ask is seen by everybody, and can still be anybody who may decide", async () => {
  const ask = office.ask(office.refund("claimed"));
  await closing(await visit(browser, office, "mira"), async (page) => {
    await page.goto(`/approvals/${ask}`);
    await page.getByRole("button", { name: "Look after it" }).click();
    await page.getByText("You look after it,").waitFor();
  });
  await closing(await visit(browser, office, "nora"), async (page) => {
    await page.goto(`/approvals/${ask}`);
    await page.getByText("person:mira looks after it").waitFor();
    assert.equal(await page.getByRole("button", { name: "Release" }).count(), 0, "only she releases it");
    await page.getByRole("button", { name: /^Approve/ }).click();
    await outcome(page, "Approved by you").waitFor();
  });
});

test("what a run asks at the same time is on one card, and is answered in part", async () => {
  const parts = [["one", 100], ["two", 200], ["three", 300]].map(([id, amount]) => `      - id: ${id}
        do: billing.create_refund
        with: {invoice: "\${{ intent.invoice }}", amount: ${amount}, currency: eur, reason: part ${id}}
        on_failure: {policy_error: [log: {caveat: not refunded}]}
`).join("");
  const playbook = `schema: harness.playbook/v1\nname: goodwill_refund\nsteps:
  - {id: invoice, do: billing.get_invoice, with: {invoice: "\${{ intent.invoice }}"}}
  - id: refunds\n    parallel:\n${parts}  - {id: result, return: {invoice: "\${{ intent.invoice }}"}}\n`;
  const pack = (folder) => writeFileSync(join(folder, "playbooks/goodwill_refund.yaml"), playbook);
  const other = await Office.open({ pack });
  try {
    const run = other.refund("three");
    const asks = other.run(run).waiting_for;
    assert.equal(asks.length, 3);
    await closing(await visit(browser, other, "mira"), async (page) => {
      await page.goto(`/approvals/${asks[0]}`);
      await page.getByText("This run asks 3 things at once").click();
      await page.getByRole("checkbox", { name: "Refund EUR 1.00" }).check();
      await page.getByRole("checkbox", { name: "Refund EUR 3.00" }).check();
      assert.deepEqual(await findings(page), []);
      await picture(page, "together");
      await page.getByRole("button", { name: "Approve the chosen" }).click();
      await page.getByText("Approved. The run goes on.").waitFor();
      await page.goto("/approvals");
      await page.locator("#inbox .item").first().waitFor();
      assert.equal(await page.locator("#inbox .item").count(), 1);
      await page.locator("#reason").fill("Twice is enough.");
      await page.getByRole("button", { name: /^Deny/ }).click();
      await outcome(page, "Denied by you").waitFor();
      await page.locator(".tag", { hasText: "Ended with caveats" }).first().waitFor();
    });
    const sent = await other.effects("billing.create_refund");
    assert.deepEqual(sent.map((effect) => effect.times_performed), [1, 1], "the denied part was not sent");
  } finally { await other.close(); }
});

test("a form of another session is refused", async () => {
  const ask = office.ask(office.refund("forged"));
  await closing(await visit(browser, office, "mira", { expected: [403] }), async (page) => {
    const status = await page.evaluate(async (ask) => {
      const body = new URLSearchParams({ form_token: "0".repeat(64), verb: "deny", reason: "forged" });
      return (await fetch(`/approvals/${ask}`, { method: "POST", body })).status;
    }, ask);
    assert.equal(status, 403);
  });
  assert.ok(office.cli(["approval", "get", ask], "mira").digest, "it still waits");
});

test("no page complained", () => assert.deepEqual(complaints, []));
