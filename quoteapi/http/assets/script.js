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
  if (button.getAttribute("aria-disabled") === "true" || !validate(form, button)) {
    return;
  }
  button.setAttribute("aria-disabled", "true");
  const body = new URLSearchParams(new FormData(form));
  if (button.name !== "") {
    body.set(button.name, button.value);
  }
  try {
    const { page, swapped } = await swapElement(form.dataset.swap, form.action, { method: "POST", body });
    if (swapped) {
      const section = document.getElementById(form.dataset.swap);
      section.querySelector("[data-focus]")?.focus();
      rememberStep(section);
    } else {
      showFailure(form, button, (page.querySelector(".detail") ?? page.querySelector("h1"))?.textContent ?? "Something went wrong. Try again later.");
    }
  } catch {
    showFailure(form, button, "Cannot reach the service. Check your connection and try again.");
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
    return "Enter your mobile number.";
  }
  if (!/^\+?\d*$/u.test(number)) {
    return "Use digits, spaces and dashes only.";
  }
  const digits = number.replace(/^\+|^00/u, "").length;
  if (digits > MAX_DIGITS) {
    return "This number is too long.";
  }
  return digits < MIN_DIGITS ? "This number is too short." : "";
}

function otpError(text) {
  return /^\d{6}$/u.test(normalizeDigits(text)) ? "" : "The code has six digits.";
}

const VALIDATORS = { mobile: mobileError, otp: otpError };

function visibleFields(form) {
  return [...form.querySelectorAll("input:not([type=hidden])")];
}

function validate(form, button) {
  const fields = visibleFields(form).filter((field) => !(button.formNoValidate && field.name === "otp"));
  for (const field of fields) {
    showError(field, VALIDATORS[field.name](field.value));
  }
  const invalid = fields.find((field) => field.getAttribute("aria-invalid") === "true");
  invalid?.focus();
  if (invalid?.name === "otp") {
    invalid.select(); // so that the right code replaces it
  }
  return invalid === undefined;
}

function errorOf(name) {
  return document.getElementById(`${name}-error`);
}

function showError(field, message) {
  errorOf(field.name).textContent = message;
  field.setAttribute("aria-invalid", String(message !== ""));
  if (field.name === "mobile") {
    document.getElementById("mobile-suggestion")?.remove();
  }
}

// Shows what is wrong with the request, not with the value of a field.
function showFailure(form, button, message) {
  errorOf(button.name || visibleFields(form).at(-1).name).textContent = message;
}

function validateWhileTyping(field) {
  // An incomplete value is no error until the field loses focus; from then on, each keystroke is validated.
  field.addEventListener("blur", () => {
    const message = VALIDATORS[field.name](field.value);
    if (field.value.trim() !== "" && message !== "") { // an error of the service stays
      showError(field, message);
    }
  });
  field.addEventListener("input", () => {
    const message = VALIDATORS[field.name](field.value);
    if (errorOf(field.name).textContent !== "" || /only|too long/u.test(message)) { // which typing on cannot correct
      showError(field, message);
    }
  });
}

// ---- the time zone of the browser

function fillTimeZone(field) {
  const { timeZone } = Intl.DateTimeFormat().resolvedOptions();
  if (field.value === "" && timeZone !== "UTC") { // with UTC, a browser hides where it is: the number says more
    field.value = timeZone ?? "";
  }
}

// ---- when a request may be repeated

// The same as Python's `format_duration`.
function formatDuration(seconds) {
  const [unit, size] = seconds <= 60 ? ["second", 1] : seconds <= 7200 ? ["minute", 60] : ["hour", 3600];
  const count = Math.ceil(seconds / size);
  return `${count} ${unit}${count === 1 ? "" : "s"}`;
}

function countDown(error) {
  const [, text] = error.textContent.match(/^(.*)\b\d+ (second|minute|hour)s?\.$/u) ?? [];
  if (text === undefined) {
    return;
  }
  const end = Date.now() + error.dataset.retryAfter * 1000;
  const timer = document.createElement("span");
  timer.setAttribute("role", "timer");
  timer.setAttribute("aria-live", "off"); // the alert is read once, not every second
  timer.textContent = formatDuration(Number(error.dataset.retryAfter));
  error.replaceChildren(text, timer, ".");
  const button = document.querySelector(`button[aria-describedby="${error.id}"]`);
  button?.setAttribute("aria-disabled", "true");
  const interval = setInterval(() => {
    const seconds = Math.ceil((end - Date.now()) / 1000);
    if (seconds > 0 && timer.isConnected) {
      timer.textContent = formatDuration(seconds);
      return;
    }
    clearInterval(interval);
    button?.removeAttribute("aria-disabled");
    if (timer.isConnected) {
      error.textContent = "You can try again now.";
    }
  }, 1000);
}

// ---- the step of the code survives a reload: this tab keeps the number until the code expires

const CODE_LIFETIME_MS = 600_000;
const STEP = "code step";

function storage() {
  try {
    return sessionStorage;
  } catch { // blocked
    return null;
  }
}

function rememberStep(section) {
  const mobile = section.querySelector("input[type=hidden][name=mobile]");
  if (mobile !== null) {
    const { action, elements: { days } } = mobile.form;
    const url = days ? `${action}?otp&days=${days.value}` : `${action}?otp`;
    const step = { action, url, mobile: mobile.value, expires: Date.now() + CODE_LIFETIME_MS };
    storage()?.setItem(STEP, JSON.stringify(step));
  } else if (section.querySelector("#otp") === null) {
    storage()?.removeItem(STEP);
  }
}

async function resumeStep() {
  const step = JSON.parse(storage()?.getItem(STEP) ?? "null");
  const field = document.getElementById("mobile");
  if (step === null || field === null || field.form.action !== step.action || field.value !== "") {
    return;
  }
  if (step.expires <= Date.now()) {
    storage().removeItem(STEP);
    return;
  }
  if (document.getElementById("otp") === null) {
    const typing = new AbortController();
    field.addEventListener("input", () => typing.abort(), { once: true });
    await swapElement("subscription", step.url, { signal: typing.signal });
  }
  document.getElementById("mobile").value = step.mobile;
}

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-forget]") !== null) {
    storage()?.removeItem(STEP);
  }
});

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
  for (const field of root.querySelectorAll("input[type=hidden][name=time_zone]")) {
    fillTimeZone(field);
  }
  for (const button of root.querySelectorAll("button[data-copy]")) {
    enableCopying(button);
  }
  for (const error of root.querySelectorAll("[data-retry-after]")) {
    countDown(error);
  }
}

enhance(document);
resumeStep().catch(() => {}); // offline, for example: the first step is there
