// Switches the scaling figure between metrics and axes, and hides families; the values are in the marks' titles.
for (const figure of document.querySelectorAll(".figure")) {
  const chosen = (name) => figure.querySelector(`input[name="${name}"]:checked`).value;
  const show = () => {
    for (const plot of figure.querySelectorAll(".plot"))
      plot.hidden = plot.dataset.metric !== chosen("metric") || plot.dataset.axis !== chosen("axis");
    for (const box of figure.querySelectorAll("input[data-family]"))
      for (const mark of figure.querySelectorAll(`[id*="-family${box.dataset.family}-"]`))
        mark.style.display = box.checked ? "" : "none";
  };
  figure.addEventListener("change", show);
  figure.querySelector(".controls").hidden = false;
  show();
}
