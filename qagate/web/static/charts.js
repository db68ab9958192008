// Where a chart is wider than the window its newest values come first.
for (const box of document.querySelectorAll(".chart-scroll.newest")) box.scrollLeft = box.scrollWidth;

// A click on a mark opens its series; the table below the chart has the same links for the keyboard.
document.addEventListener("click", (event) => {
  const mark = event.target.closest?.("[data-href]");
  if (mark) location.assign(mark.dataset.href);
});
