() => {
  // What Gradio has no options for: dropping anywhere, heat maps over the picture, spoken news.
  const find = (selector) => document.querySelector(selector);
  const input = () => find("input[type=file]"); // the page has one
  const megabytes = Number(find("#facts").dataset.megabytes);

  const status = find("#status");
  status.setAttribute("aria-live", "polite");
  const say = (text) => {
    const place = status.querySelector(".say");
    place.className = "say problem";
    place.textContent = text;
  };

  const isTooLarge = (file) => {
    if (file.size <= megabytes * 1e6) return false;
    const size = (file.size / 1e6).toFixed(file.size < 1e7 ? 1 : 0);
    say(`${file.name} has ${size} MB and ${megabytes} MB are allowed: save it smaller.`);
    return true;
  };
  // Before Gradio sees it.
  document.addEventListener("change", (event) => {
    if (event.target !== input() || ![...event.target.files].some(isTooLarge)) return;
    event.stopImmediatePropagation();
    event.target.value = "";
  }, true);

  const give = (files) => {
    if (files.length !== 1) {
      say("Drop one image file at a time.");
      return;
    }
    const one = new DataTransfer();
    one.items.add(files[0]);
    input().files = one.files;
    input().dispatchEvent(new Event("change", { bubbles: true }));
  };
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  document.addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("dropping");
  });
  document.addEventListener("drop", (event) => {
    document.body.classList.remove("dropping");
    if (!hasFiles(event)) return;
    event.preventDefault();
    give(event.dataTransfer.files);
  });
  document.addEventListener("paste", (event) => {
    if (event.clipboardData?.files.length) give(event.clipboardData.files);
  });

  const hide = () => find("#peek")?.remove();
  const show = (row) => {
    hide();
    const map = row.querySelector("img.peek");
    if (!map || !find("#picture img")) return;
    const figure = document.createElement("figure");
    figure.id = "peek";
    const large = document.createElement("img");
    large.src = map.src;
    large.alt = "";
    const caption = document.createElement("figcaption");
    caption.textContent = row.cells[2].textContent;
    figure.append(large, caption);
    find("#picture").append(figure);
  };
  const rowOf = (event) => event.target.closest?.("tr.property");
  for (const [enter, leave] of [["mouseover", "mouseout"], ["focusin", "focusout"]]) {
    document.addEventListener(enter, (event) => rowOf(event) && show(rowOf(event)));
    document.addEventListener(leave, (event) => rowOf(event) && hide());
  }
}
