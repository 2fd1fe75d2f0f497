// Progressive enhancement: links and forms also work without JavaScript.

const MIN_DIGITS = 7;
const MAX_DIGITS = 15;

// ---- navigation without a reload: fetch a page, and replace the element with the same id

async function swapElement(id, url, options = {}) {
  const response = await fetch(url, { ...options, headers: { Accept: "text/html" } });
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  options.signal?.throwIfAborted();
  const replacement = page.getElementById(id);
  if (replacement === null) {
    return { response, page, swapped: false };
  }
  const element = document.getElementById(id);
  element.replaceChildren(...replacement.childNodes);
  element.classList.remove("arriving");
  void element.offsetWidth; // restarts the animation
  element.classList.add("arriving");
  enhance(element);
  return { response, page, swapped: true };
}

let shownPath = currentPath();

function currentPath() {
  return location.pathname + location.search;
}

let pendingNavigation = new AbortController();

async function navigateTo(url) {
  pendingNavigation.abort(); // a newer navigation replaces it
  pendingNavigation = new AbortController();
  const { response, page, swapped } = await swapElement("quote", url, { signal: pendingNavigation.signal });
  if (!swapped) {
    location.assign(url);
    return null;
  }
  document.title = page.title;
  return response.url;
}

document.addEventListener("click", async (event) => {
  const link = event.target.closest("a[data-swap]");
  if (link === null || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) {
    return;
  }
  event.preventDefault();
  const name = link.className;
  try {
    const url = await navigateTo(link.href);
    if (url !== null) {
      if (url !== location.href) {
        history.pushState(null, "", url);
      }
      shownPath = currentPath();
      (document.querySelector(`#quote a.${name}`) ?? document.querySelector("#quote a.another"))?.focus();
      scrollTo({ top: 0 });
    }
  } catch (error) {
    if (error.name !== "AbortError") {
      location.assign(link.href); // the browser shows what is wrong
    }
  }
});

addEventListener("popstate", () => {
  if (currentPath() !== shownPath) { // false for a link to an element of the same page
    shownPath = currentPath();
    navigateTo(location.href).catch((error) => error.name === "AbortError" || location.reload());
  }
});

document.addEventListener("submit", async (event) => {
  const form = event.target.closest("form[data-swap]");
  if (form === null) {
    return;
  }
  event.preventDefault();
  const button = event.submitter ?? form.querySelector("button");
  if (button.getAttribute("aria-disabled") === "true" || !validate(form)) {
    return;
  }
  button.setAttribute("aria-disabled", "true");
  const body = new URLSearchParams(new FormData(form));
  try {
    const { page, swapped } = await swapElement(form.dataset.swap, form.action, { method: "POST", body });
    if (!swapped) {
      showError(form, (page.querySelector(".detail") ?? page.querySelector("h1"))?.textContent ?? "That did not work. Try again in a while.");
    }
  } catch {
    showError(form, "The service cannot be reached just now. Are you online?");
  } finally {
    button.removeAttribute("aria-disabled");
  }
});

// ---- validation while typing; only the service knows whether a number exists

// The same as Python's `normalize_digits`: NFKC, digits of all scripts as ASCII, no separators or invisible characters.
export function normalizeDigits(text) {
  return text.normalize("NFKC")
    .replace(/[\p{Cf}\p{Me}\p{Mn}\p{Pd}\p{Pe}\p{Ps}\p{Z}\t\n\r./~\u2212\u30fc\u2800\u115f\u1160]/gu, "")
    .replace(/\p{Nd}/gu, decimal);
}

// Unicode has the digits of a script in a row, from zero to nine.
function decimal(digit) {
  const codePoint = digit.codePointAt(0);
  let distance = 1;
  while (/\p{Nd}/u.test(String.fromCodePoint(codePoint - distance))) {
    distance += 1;
  }
  return String((distance - 1) % 10);
}

function mobileError(text) {
  const number = normalizeDigits(text).replace(/^tel:/iu, "");
  if (number === "") {
    return "Type your mobile number.";
  }
  if (!/^\+?\d*$/u.test(number)) {
    return "A phone number has digits, spaces and dashes only.";
  }
  if (/^0(?!0)/u.test(number)) {
    return "Begin with + and the country code, and leave the first 0 out.";
  }
  const digits = number.replace(/^\+|^00/u, "").length;
  if (digits > MAX_DIGITS) {
    return "This number is too long.";
  }
  return digits < MIN_DIGITS ? "This number is too short." : "";
}

function otpError(text) {
  return /^\d{6}$/u.test(normalizeDigits(text)) ? "" : "The code is six digits.";
}

const VALIDATORS = { mobile: mobileError, otp: otpError };

function validate(form) {
  const field = form.querySelector("input:not([type=hidden])");
  const message = field === null ? "" : VALIDATORS[field.name](field.value);
  if (message !== "") {
    showError(form, message);
    field.focus();
  }
  return message === "";
}

function showError(form, message) {
  const field = form.querySelector("input:not([type=hidden])");
  const error = form.querySelector(".error") ?? document.querySelector("#subscription .error");
  error.textContent = message;
  field?.setAttribute("aria-invalid", String(message !== ""));
}

function validateWhileTyping(field) {
  // An incomplete value is no error until the field loses focus; from then on, each keystroke is validated.
  field.addEventListener("blur", () => {
    if (field.value.trim() !== "") {
      showError(field.form, VALIDATORS[field.name](field.value));
    }
  });
  field.addEventListener("input", () => {
    const isInvalid = field.getAttribute("aria-invalid") === "true";
    const message = VALIDATORS[field.name](field.value);
    if (isInvalid || /only|too long|first 0/u.test(message)) { // which typing on cannot correct
      showError(field.form, message);
    }
  });
}

// ---- copying a link

function enableCopying(button) {
  if (!navigator.clipboard) { // it needs HTTPS
    return;
  }
  const link = new URL(button.dataset.copy, location.href).href;
  const label = button.textContent;
  button.hidden = false;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(link);
      button.textContent = "Copied";
    } catch {
      button.textContent = link;
    }
    setTimeout(() => { button.textContent = label; }, 2000);
  });
}

function enhance(root) {
  for (const form of root.querySelectorAll("form[data-swap]")) {
    form.noValidate = true;
  }
  for (const field of root.querySelectorAll("form[data-swap] input:not([type=hidden])")) {
    validateWhileTyping(field);
  }
  for (const button of root.querySelectorAll("button[data-copy]")) {
    enableCopying(button);
  }
  if (root !== document) {
    root.querySelector("[data-focus]")?.focus();
  }
}

enhance(document);
