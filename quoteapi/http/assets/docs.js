// Shows the answers of the reference's forms in place; without this, the browser opens them.

const MOST_SHOWN = 20_000;

for (const part of document.querySelectorAll("[data-with-script]")) {
  part.hidden = false;
  part.querySelector("input, select").disabled = false;
}

if (matchMedia("(max-width: 60rem)").matches) {
  document.querySelector(".index details").open = false;
}

function requestOf(form) {
  const fields = [...form.elements].filter((field) => field.dataset.place !== undefined && field.value !== "");
  let path = form.dataset.path;
  const sent = new URLSearchParams();
  for (const field of fields) {
    if (field.dataset.place === "path") {
      path = path.replace(`{${field.dataset.name}}`, encodeURIComponent(field.value));
    } else {
      sent.append(field.name, field.value);
    }
  }
  const headers = { Accept: form.querySelector("[data-accept]")?.value ?? "*/*" };
  if (form.method === "post") {
    return [path, { method: "POST", headers, body: sent, cache: "no-store" }];
  }
  return [sent.size > 0 ? `${path}?${sent}` : path, { headers, cache: "no-store" }];
}

function shown(text, mediaType) {
  if (/[/+]json/u.test(mediaType)) {
    try {
      return JSON.stringify(JSON.parse(text), null, 2);
    } catch {
      return text;
    }
  }
  return text.length > MOST_SHOWN ? `${text.slice(0, MOST_SHOWN)}\n… (${text.length} characters in all)` : text;
}

function block(label, text) {
  const pre = document.createElement("pre");
  pre.tabIndex = 0;
  pre.setAttribute("role", "group");
  pre.setAttribute("aria-label", label);
  pre.textContent = text;
  return pre;
}

async function send(form) {
  const said = form.querySelector(".said");
  const result = form.querySelector(".result");
  const [address, options] = requestOf(form);
  const began = performance.now();
  said.textContent = "Asking …";
  result.hidden = true;
  try {
    const answer = await fetch(address, options);
    const text = await answer.text();
    const took = Math.round(performance.now() - began);
    const mediaType = answer.headers.get("Content-Type") ?? "";
    const headers = [...answer.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
    const where = answer.redirected ? `, at ${new URL(answer.url).pathname}` : "";
    said.textContent = `${answer.status} ${answer.statusText}${where}, ${took} ms`;
    result.replaceChildren(block("Headers of the answer", headers));
    if (mediaType.startsWith("image/")) {
      const picture = new Image();
      picture.alt = "The picture that this answer is";
      picture.src = answer.url;
      result.append(picture);
    }
    if (text !== "") {
      result.append(block("The answer", shown(text, mediaType)));
    }
    result.hidden = false;
  } catch {
    said.textContent = "The service cannot be reached just now. Are you online?";
  }
}

document.addEventListener("submit", async (event) => {
  const form = event.target.closest("form.try");
  if (form === null) {
    return;
  }
  event.preventDefault();
  const button = form.querySelector("button");
  if (button.getAttribute("aria-disabled") === "true") {
    return;
  }
  button.setAttribute("aria-disabled", "true");
  await send(form);
  button.removeAttribute("aria-disabled");
});
