// Keeps the overview as of now: it asks for the page again and takes the part
// over that changes. Without it the page stays as it was when it was loaded.
"use strict";
(function () {
  const every = 5000;
  const live = document.getElementById("live");
  if (!live) return;

  const box = document.createElement("input");
  box.type = "checkbox";
  box.id = "keep";
  box.checked = true;
  const label = document.createElement("label");
  label.htmlFor = "keep";
  label.textContent = "Keep it up to date";
  const said = document.createElement("span");
  said.setAttribute("role", "status");
  const line = document.createElement("p");
  line.append(box, " ", label, " ", said);
  live.before(line);

  async function update() {
    const focused = live.contains(document.activeElement);
    if (!box.checked || document.hidden || focused || !getSelection().isCollapsed) return;
    try {
      const reply = await fetch("./", { cache: "no-store" });
      if (!reply.ok) throw new Error(reply.status);
      const page = new DOMParser().parseFromString(await reply.text(), "text/html");
      live.replaceChildren(...page.getElementById("live").childNodes);
      said.textContent = "";
    } catch (e) {
      said.textContent = "The server does not answer.";
    }
  }
  setInterval(update, every);
})();
