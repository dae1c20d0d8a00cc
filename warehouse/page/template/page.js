(() => {
  const root = document.documentElement;
  const kept = { get: () => { try { return localStorage.getItem("theme"); } catch { return null; } },
                 set: (name) => { try { localStorage.setItem("theme", name); } catch { /* a private window */ } } };
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const shown = () => root.dataset.theme || (dark.matches ? "dark" : "light");
  if (["light", "dark"].includes(kept.get())) root.dataset.theme = kept.get();

  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    const other = () => (shown() === "dark" ? "light" : "dark");
    const name = () => { button.textContent = other() === "dark" ? "Dark" : "Light";
                         button.setAttribute("aria-label", `Show in ${other()} colours`); };
    button.hidden = false;
    button.addEventListener("click", () => { root.dataset.theme = other(); kept.set(root.dataset.theme); name(); });
    dark.addEventListener("change", name);
    name();

    const days = Math.floor((Date.now() - new Date(document.body.dataset.published)) / 864e5);
    const age = document.getElementById("age");
    if (days >= 2) { age.textContent = `${document.body.dataset.aged} ${days} days ago.`; age.hidden = false; }

    // titles of marks are told at once, and by touch
    const tip = document.createElement("div");
    tip.id = "tip"; tip.hidden = true;
    document.body.append(tip);
    for (const title of document.querySelectorAll(".plot title")) {
      title.parentNode.dataset.tip = title.textContent;
      title.remove();
    }
    const tell = (event) => {
      const mark = event.target.closest?.("[data-tip]");
      tip.hidden = !mark;
      if (!mark) return;
      tip.textContent = mark.dataset.tip;
      const box = tip.getBoundingClientRect();
      tip.style.left = `${Math.max(8, Math.min(event.clientX + 12, innerWidth - box.width - 8))}px`;
      tip.style.top = `${Math.max(8, event.clientY - box.height - 12)}px`;
    };
    document.addEventListener("pointermove", tell);
    document.addEventListener("pointerdown", tell);

    let opened = [];
    addEventListener("beforeprint", () => {
      opened = [...document.querySelectorAll("details:not([open])")];
      for (const details of opened) details.open = true;
    });
    addEventListener("afterprint", () => { for (const details of opened) details.open = false; });
  });
})();
