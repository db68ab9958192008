// A click on a mark of a chart opens its series; the table below the chart has the same links for the keyboard.

document.addEventListener("click", (event) => {
  const mark = event.target.closest?.("[data-href]");
  if (mark) location.assign(mark.dataset.href);
});
