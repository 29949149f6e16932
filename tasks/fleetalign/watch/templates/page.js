// Airflow shows these pages in a sandboxed frame. The surrounding page follows links to Airflow itself, and its light or
// dark mode applies here too. A page that is opened on its own needs none of this.
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
