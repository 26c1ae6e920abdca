// What pages cannot do without a script: copying, the viewer's time zone, tabs, and the set-up link's code.
// Everything here is an addition; every page works without it.
(() => {
  "use strict";

  const all = (selector, root) => [...(root || document).querySelectorAll(selector)];

  function announce(text) {
    const place = document.getElementById("announcer");
    if (place) place.textContent = text;
  }

  async function copyValue(button) {
    const source = document.getElementById(button.dataset.copy);
    if (!source) return;
    if (!window.isSecureContext || !navigator.clipboard) {
      getSelection().selectAllChildren(source);
      return;
    }
    await navigator.clipboard.writeText(source.textContent);
    const word = button.querySelector("[data-copy-word]");
    const before = word.textContent;
    word.textContent = button.dataset.copied;
    announce(`${button.dataset.copied}: ${button.dataset.name}`);
    setTimeout(() => { word.textContent = before; }, 2000);
  }

  function download(button) {
    const text = document.getElementById(button.dataset.downloadFrom).textContent;
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
    link.download = button.dataset.download;
    link.click();
    URL.revokeObjectURL(link.href);
  }

  // Times in the viewer's zone; UTC stays in the title.
  function localTimes(root) {
    const full = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });
    const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3, hour12: false });
    for (const place of all("time[datetime] [data-absolute], time[datetime] [data-clock]", root)) {
      const format = place.hasAttribute("data-clock") ? clock : full;
      const local = format.format(new Date(place.closest("time").dateTime));
      if (place.textContent !== local) place.textContent = local;
    }
  }

  function makeTabs(box) {
    const panels = all(":scope > [data-tab]", box);
    const list = document.createElement("div");
    list.setAttribute("role", "tablist");
    const tabs = panels.map((panel, number) => {
      const tab = document.createElement("button");
      tab.type = "button";
      tab.textContent = panel.dataset.tab;
      tab.setAttribute("role", "tab");
      tab.id = `tab-${number}-${panels.length}`;
      panel.id = panel.id || `panel-${number}-${panels.length}`;
      tab.setAttribute("aria-controls", panel.id);
      panel.setAttribute("role", "tabpanel");
      panel.setAttribute("aria-labelledby", tab.id);
      const heading = panel.querySelector("h3");
      if (heading) heading.hidden = true;
      list.append(tab);
      return tab;
    });
    const choose = (chosen) => tabs.forEach((tab, number) => {
      tab.setAttribute("aria-selected", String(tab === chosen));
      tab.tabIndex = tab === chosen ? 0 : -1;
      panels[number].hidden = tab !== chosen;
    });
    list.addEventListener("click", (event) => { if (tabs.includes(event.target)) choose(event.target); });
    list.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = tabs[(tabs.indexOf(document.activeElement) + step + tabs.length) % tabs.length];
      choose(next);
      next.focus();
    });
    box.prepend(list);
    choose(tabs[0]);
  }

  function makeReveal(input) {
    const box = document.createElement("div");
    box.className = "reveal";
    const button = document.createElement("button");
    button.type = "button";
    button.className = "quiet";
    button.textContent = input.dataset.reveal;
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => {
      const isShown = input.type === "text";
      input.type = isShown ? "password" : "text";
      button.setAttribute("aria-pressed", String(!isShown));
    });
    input.replaceWith(box);
    box.append(input, button);
  }

  // The question of Send on Behalf appears as soon as the two addresses differ.
  function watchDifference(panel) {
    const [one, other] = panel.dataset.shownWhenDiffers.split(" ").map((id) => document.getElementById(id));
    const values = (name) => all(`[data-value-of="${name}"]`, panel);
    const refresh = () => {
      const a = one.value.trim().toLowerCase(), b = other.value.trim().toLowerCase();
      panel.hidden = !a || !b || a === b;
      values(one.id).forEach((place) => { place.textContent = one.value.trim(); });
      values(other.id).forEach((place) => { place.textContent = other.value.trim(); });
      const behalf = document.getElementById("command-behalf"), as = document.getElementById("command-as");
      const safe = (text) => /^[\w.@+-]+$/.test(text) && !text.startsWith("-");
      if (safe(one.value.trim()) && safe(other.value.trim())) {
        behalf.textContent = `Set-Mailbox -Identity ${one.value.trim()} -GrantSendOnBehalfTo @{Add="${other.value.trim()}"}`;
        as.textContent = `Add-RecipientPermission ${one.value.trim()} -Trustee ${other.value.trim()} -AccessRights SendAs`;
      }
    };
    for (const input of [one, other]) input.addEventListener("input", refresh);
    refresh();
  }

  function wake(root) {
    all("[data-copy][hidden], [data-download][hidden], [data-fill][hidden]", root).forEach((button) => {
      button.hidden = false;
      if (button.dataset.copy && !window.isSecureContext) button.querySelector("[data-copy-word]").textContent = "Select";
    });
    localTimes(root);
  }

  document.addEventListener("click", (event) => {
    const copy = event.target.closest("[data-copy]");
    if (copy) copyValue(copy);
    const save = event.target.closest("[data-download]");
    if (save) download(save);
    const fill = event.target.closest("[data-fill]");
    if (fill) document.getElementById(fill.closest("[data-fills]").dataset.fills).value = fill.dataset.fill;
  });
  document.addEventListener("htmx:after:swap", () => wake(document));
  document.addEventListener("htmx:after:settle", () => wake(document));

  wake(document);
  all("[data-tabs]").forEach(makeTabs);
  all("[data-reveal]").forEach(makeReveal);
  all("[data-shown-when-differs]").forEach(watchDifference);
  // A proxy may hide from the server under which address the page was opened; the browser knows.
  all("[data-public-origin]").forEach((hint) => { hint.hidden = location.origin === new URL(hint.dataset.publicOrigin).origin; });
  const summary = document.querySelector("[data-focus]");
  if (summary) summary.focus();

  // The set-up link carries its code behind the #, so that it stands in no log.
  function takeToken() {
    const form = document.querySelector("[data-token-from-hash]");
    const token = new URLSearchParams(location.hash.slice(1)).get("token");
    if (!form || !token) return;
    form.elements.token.value = token;
    history.replaceState(null, "", location.pathname);
  }
  window.addEventListener("hashchange", takeToken);
  takeToken();
})();
