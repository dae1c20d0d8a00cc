// What the pages need of Bootstrap and jQuery, so that they work from disk without a network.
function showFailedOnly(only) {
  const held = document.querySelectorAll(".hide-succeeded-validation-target-child, .hide-succeeded-validation-target");
  held.forEach((mark) => {
    const row = mark.closest("tr");
    if (row) row.hidden = only;
  });
  document.querySelectorAll(".ge-section").forEach((section) => {
    const rows = section.querySelectorAll("tbody tr");
    const marked = section.querySelector(".hide-succeeded-validations-column-section-target-child");
    section.hidden = only && marked !== null && rows.length > 0;
  });
}

function searchTable(input) {
  const words = input.value.toLowerCase();
  input.parentElement.querySelectorAll("tbody tr").forEach((row) => {
    row.hidden = !row.textContent.toLowerCase().includes(words);
  });
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("[data-toggle]");
  if (!link || !["collapse", "tab"].includes(link.dataset.toggle)) return;
  event.preventDefault();
  const target = document.getElementById((link.getAttribute("href") || link.dataset.target).slice(1));
  if (link.dataset.toggle === "collapse") {
    target.classList.toggle("show");
    return;
  }
  const siblings = [...target.parentElement.children, ...link.closest("ul").querySelectorAll(".nav-link")];
  siblings.forEach((item) => item.classList.remove("active", "show"));
  [target, link].forEach((item) => item.classList.add("active", "show"));
});
