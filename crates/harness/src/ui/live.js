// Keeps a page as the server would draw it now, and adds keys. Everything works without it.
(() => {
  "use strict";
  const $ = (css, at = document) => at.querySelector(css);
  const all = (css, at = document) => [...at.querySelectorAll(css)];
  const body = document.body, lamp = $("#live"), toast = $("#toast");
  const say = (text) => { toast.textContent = text; clearTimeout(say.timer); say.timer = setTimeout(() => { toast.textContent = ""; }, 6000); };

  // --- Patching: the same page again, node by node; what somebody typed, opened or holds stays.
  const mine = (node) => node.nodeType === 1 && (node.dataset.keep !== undefined || (node.matches("input,textarea,select") && node.dataset.touched !== undefined));
  const like = (a, b) => a.nodeType === b.nodeType && a.nodeName === b.nodeName && (a.id || "") === (b.id || "");
  function morph(old, now) {
    if (old.nodeType !== 1) { if (old.nodeValue !== now.nodeValue) old.nodeValue = now.nodeValue; return; }
    if (mine(old)) return;
    for (const { name } of [...old.attributes]) if (!now.hasAttribute(name) && name !== "open") old.removeAttribute(name);
    for (const { name, value } of now.attributes) if (old.getAttribute(name) !== value && name !== "open") old.setAttribute(name, value);
    let at = old.firstChild;
    for (const next of [...now.childNodes]) {
      let same = at;
      if (next.id) for (same = at; same && same.id !== next.id;) same = same.nextSibling;
      if (same && like(same, next)) {
        while (at !== same) { const gone = at; at = at.nextSibling; gone.remove(); }
        morph(same, next); at = same.nextSibling;
      } else { const node = document.importNode(next, true); old.insertBefore(node, at); if (node.classList) node.classList.add("fresh"); }
    }
    while (at) { const gone = at; at = at.nextSibling; gone.remove(); }
  }
  // --- Coming back: whoever does not answer is asked again, ever less often.
  const patient = (act) => {
    let wait = 0, timer;
    return {
      again(least = 0) {
        clearTimeout(timer);
        wait = Math.min(30000, wait * 2 || 1000);
        timer = setTimeout(act, Math.max(least, wait * (0.75 + Math.random() / 2)));
      },
      good() { wait = 0; clearTimeout(timer); },
    };
  };
  // Where the page stands: an answer to a form has an address that only takes forms.
  const here = () => body.dataset.here || location.href;
  let busy = false, again = false, gone = false;
  async function refresh() {
    if (busy) { again = true; return; }
    busy = true;
    let least = 0;
    try {
      const answer = await fetch(here(), { headers: { "X-Live": "1" }, redirect: "manual" });
      if (answer.type === "opaqueredirect" || answer.status === 401) { signedOut(); return; }
      least = 1000 * Number(answer.headers.get("retry-after")) || 0;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      // What is no page of ours says nothing about what stands here: a proxy's own, a limit, a fault.
      if (!page.body.dataset.live || answer.status === 429 || answer.status >= 500) throw new Error(String(answer.status));
      const open = $("#decide") !== null;
      for (const now of all("[data-patch]", page)) {
        const old = document.getElementById(now.id);
        if (old) morph(old, now);
      }
      // What stood here is not to be seen any more: the page says why instead.
      if (gone || !answer.ok) morph($("main"), $("main", page));
      gone = !answer.ok;
      current();
      if (open && !$("#decide") && $("#outcome")) say($("#outcome").textContent.trim());
      clock();
    } catch { stale(); redraw.again(least); } finally { busy = false; if (again) { again = false; soon(); } }
  }
  const redraw = patient(refresh);
  let pending;
  const soon = () => { clearTimeout(pending); pending = setTimeout(refresh, 120); };
  addEventListener("input", (event) => { if (event.target.dataset) event.target.dataset.touched = ""; });

  // --- The stream names what changed; only a page that shows it is drawn again.
  const lampSays = (state, text) => { lamp.className = `live ${state}`; $(".word", lamp).textContent = text; };
  const stale = () => { if (!out) { body.classList.add("stale"); lampSays("off", "Reconnecting"); } };
  let stream, dropped = false, out = false;
  function listen() {
    stream = new EventSource(body.dataset.live);
    stream.onopen = () => { ear.good(); lampSays("on", "Live"); if (dropped) soon(); dropped = false; };
    stream.onerror = () => {
      dropped = true; stale();
      // A browser comes back by itself after a loss, never after an answer that is no stream: a proxy's 502 ends it.
      if (stream.readyState === EventSource.CLOSED && !out) { ear.again(); soon(); }
    };
    const heard = (event) => {
      let about = {};
      try { about = JSON.parse(event.data); } catch { /* look again */ }
      if (!body.dataset.run || !about.run || about.run === body.dataset.run || $("[data-any]")) soon();
    };
    for (const name of ["run", "reset"]) stream.addEventListener(name, heard);
  }
  const ear = patient(listen);
  // What is typed stays where it is; signing in elsewhere and coming back is enough.
  function signedOut() {
    if (!out) say("You are signed out. What you typed is still here.");
    out = true; stream.close(); ear.good(); redraw.good();
    body.classList.add("stale"); lampSays("off", "Signed out");
    const back = new URL(here(), location.href), link = $("#signed-out");
    link.href = `/sign-in?to=${encodeURIComponent(back.pathname + back.search)}`;
    link.hidden = false;
  }
  function current() {
    redraw.good(); body.classList.remove("stale");
    if (!out && stream.readyState === EventSource.OPEN) lampSays("on", "Live");
    if (!out) return;
    out = false; $("#signed-out").hidden = true; lampSays("off", "Reconnecting"); listen();
  }
  if (body.dataset.live) {
    listen();
    addEventListener("focus", () => { if (out) soon(); });
  }

  // --- Time: what ends is told how long it has, and dies where it stands.
  const spell = (ms) => ms < 60000 ? `${Math.max(1, Math.round(ms / 1000))} s` : ms < 7200000 ? `${Math.round(ms / 60000)} min` : ms < 172800000 ? `${Math.round(ms / 3600000)} h` : `${Math.round(ms / 86400000)} d`;
  let dead = "";
  function clock() {
    const now = Date.now();
    for (const time of all("time[data-until]")) {
      const left = Date.parse(time.dateTime) - now;
      time.textContent = left > 0 ? `in ${spell(left)}` : "expired";
    }
    const card = $("[data-expires]");
    if (card && Date.parse(card.dataset.expires) <= now) {
      card.classList.add("gone");
      for (const button of all("button", card)) button.disabled = true;
      const note = $("#expired", card);
      if (note) note.hidden = false;
      // Once a card: whose clock is ahead of the server's must not ask it again and again.
      if (dead !== card.id) { dead = card.id; say("This ask has expired; nothing more can be decided here."); soon(); }
    }
  }
  setInterval(clock, 1000); clock();

  // --- Keys move and open; none of them decides.
  const items = () => all("[data-item]").filter((item) => item.offsetParent !== null);
  function step(by) {
    const list = items(), held = list.indexOf(document.activeElement);
    const from = held >= 0 ? held : list.findIndex((item) => item.hasAttribute("aria-current"));
    const next = list[Math.min(list.length - 1, Math.max(0, from + by))];
    if (next) { next.focus(); next.scrollIntoView({ block: "nearest" }); }
  }
  const hold = (css) => { const node = $(css); if (node) { node.focus(); node.scrollIntoView({ block: "nearest" }); } };
  const places = { a: "/approvals", e: "/exceptions", r: "/runs", c: "/receipts", p: "/packs" };
  let going = 0;
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.target.matches("input, textarea, select")) { if (event.key === "Escape") event.target.blur(); return; }
    const go = places[event.key];
    if (Date.now() - going < 1200 && go) { going = 0; location.assign(go); return; }
    const keys = {
      j: () => step(1), k: () => step(-1), a: () => hold("[data-key=a]"), d: () => hold("[data-key=d]"), s: () => hold("[data-key=s]"),
      "/": () => hold("[data-key=search]"), g: () => { going = Date.now(); }, "?": () => $("#help").showModal(),
    };
    if (keys[event.key]) { event.preventDefault(); keys[event.key](); }
  });
  addEventListener("click", (event) => {
    const help = event.target.closest("[data-help]");
    if (help) $("#help").showModal();
    const copy = event.target.closest("[data-copy]");
    if (copy) navigator.clipboard.writeText(copy.dataset.copy).then(() => say("Copied"));
    for (const open of all("details.menu[open], details.who[open]")) if (!open.contains(event.target)) open.removeAttribute("open");
  });
  addEventListener("submit", (event) => { for (const button of all("button", event.target)) setTimeout(() => { button.disabled = true; }); });

  // --- Leaving: a page that is asked for and does not come at once is told; what stands here is the old one.
  const leaving = (now) => { $("main").setAttribute("aria-busy", String(now)); body.classList.toggle("loading", now); };
  let slow, slower;
  addEventListener("beforeunload", () => {
    for (const timer of [slow, slower]) clearTimeout(timer);
    slow = setTimeout(() => { say("Loading"); leaving(true); }, 200);
    slower = setTimeout(() => say("The service is slow to answer. Nothing is lost; loading goes on."), 8000);
  });
  // Whoever stops it has the page as it was.
  addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const timer of [slow, slower]) clearTimeout(timer);
    leaving(false);
  }, true);
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
  for (const only of all("[data-js]")) only.hidden = false;
  if (toast.dataset.say) say(toast.dataset.say);
})();
