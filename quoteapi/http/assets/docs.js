// Sends the forms of the API reference and shows the responses on the page; without JavaScript, the browser opens them.

const MAX_SHOWN_CHARACTERS = 20_000;

for (const part of document.querySelectorAll("[data-with-script]")) {
  part.hidden = false;
  part.querySelector("input, select").disabled = false;
}

function buildRequest(form) {
  const fields = [...form.elements].filter((field) => field.dataset.in !== undefined && field.value !== "");
  let path = form.dataset.path;
  const parameters = new URLSearchParams();
  for (const field of fields) {
    if (field.dataset.in === "path") {
      path = path.replace(`{${field.dataset.name}}`, encodeURIComponent(field.value));
    } else {
      parameters.append(field.name, field.value);
    }
  }
  const headers = { Accept: form.querySelector("[data-accept]")?.value ?? "*/*" };
  if (form.method === "post") {
    return [path, { method: "POST", headers, body: parameters, cache: "no-store" }];
  }
  return [parameters.size > 0 ? `${path}?${parameters}` : path, { headers, cache: "no-store" }];
}

function formatBody(text, mediaType) {
  if (/[/+]json/u.test(mediaType)) {
    try {
      return JSON.stringify(JSON.parse(text), null, 2);
    } catch {
      return text;
    }
  }
  return text.length > MAX_SHOWN_CHARACTERS ? `${text.slice(0, MAX_SHOWN_CHARACTERS)}\n… (${text.length} characters in total)` : text;
}

function codeBlock(label, text) {
  const pre = document.createElement("pre");
  pre.tabIndex = 0;
  pre.setAttribute("role", "group");
  pre.setAttribute("aria-label", label);
  pre.textContent = text;
  return pre;
}

async function sendRequest(form) {
  const status = form.querySelector(".result-status");
  const result = form.querySelector(".result");
  const [url, options] = buildRequest(form);
  const startTime = performance.now();
  status.textContent = "Sending …";
  result.hidden = true;
  try {
    const response = await fetch(url, options);
    const text = await response.text();
    const milliseconds = Math.round(performance.now() - startTime);
    const mediaType = response.headers.get("Content-Type") ?? "";
    const headers = [...response.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
    const redirect = response.redirected ? `, at ${new URL(response.url).pathname}` : "";
    status.textContent = `${response.status} ${response.statusText}${redirect}, ${milliseconds} ms`;
    result.replaceChildren(codeBlock("Response headers", headers));
    if (mediaType.startsWith("image/")) {
      const image = new Image();
      image.alt = "The picture in the response";
      image.src = response.url;
      result.append(image);
    }
    if (text !== "") {
      result.append(codeBlock("Response body", formatBody(text, mediaType)));
    }
    result.hidden = false;
  } catch {
    status.textContent = "Cannot reach the service. Check your connection and try again.";
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
  await sendRequest(form);
  button.removeAttribute("aria-disabled");
});
