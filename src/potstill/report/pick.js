// Shows the facts of a Pareto point, and the command that ships it, when its mark is chosen.
(() => {
  const panel = document.getElementById("picked");
  if (!panel) return;
  const marks = document.querySelectorAll('a[href^="#point-"]');
  const heads = [...panel.closest("section").querySelectorAll("table[data-points] thead th")];
  const add = (parent, tag, text) => {
    const made = parent.appendChild(document.createElement(tag));
    made.textContent = text;
    return made;
  };
  const show = (id) => {
    const row = document.getElementById(id);
    if (!row) return;
    const number = id.slice("point-".length);
    panel.replaceChildren();
    add(panel, "h4", "Point " + number);
    const facts = add(panel, "dl", "");
    [...row.cells].forEach((cell, place) => {
      const text = cell.textContent.trim();
      if (place === 0 || !text) return;
      add(facts, "dt", heads[place].textContent.trim() || "Note");
      add(facts, "dd", text);
    });
    add(panel, "p", row.dataset.ships ? "This one is in the artifact; the same again:" : "To ship this one:");
    const line = add(panel, "div", "");
    line.className = "command";
    const code = add(line, "code", panel.dataset.command.replace(/N$/, number));
    if (navigator.clipboard) {
      const button = add(line, "button", "Copy");
      button.type = "button";
      button.addEventListener("click", () =>
        navigator.clipboard.writeText(code.textContent).then(() => (button.textContent = "Copied")));
    }
    panel.hidden = false;
    marks.forEach((mark) =>
      mark.getAttribute("href") === "#" + id
        ? mark.setAttribute("aria-current", "true") : mark.removeAttribute("aria-current"));
  };
  marks.forEach((mark) => mark.addEventListener("click", (event) => {
    event.preventDefault();
    show(mark.getAttribute("href").slice(1));
  }));
  const first = document.querySelector("tr[data-ships]") || document.querySelector('tr[id^="point-"]');
  if (first) show(first.id);
})();
