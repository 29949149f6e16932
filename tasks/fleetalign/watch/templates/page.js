// Airflow shows these pages in a sandboxed frame. A link to Airflow itself is followed by the page around it, and that
// page's choice of light or dark holds here too. Opened on its own, a page needs nothing of this.
if (window.parent !== window) {
  const around = window.parent.document;
  document.documentElement.style.colorScheme = getComputedStyle(around.documentElement).colorScheme;
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-outside]");
    if (!link) return;
    event.preventDefault();
    const twin = around.createElement("a");
    twin.href = link.href;
    around.body.append(twin);
    twin.click();
    twin.remove();
  });
}
