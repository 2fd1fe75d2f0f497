// Makes the pages better where it runs; without it they are forms and links that work all the same.

const FEWEST_DIGITS = 7;
const MOST_DIGITS = 15;

// ---- no reload: the answer to a form or a link is a page, and its part of the same name is put in the place of ours

async function swap(id, address, options = {}) {
  const answer = await fetch(address, { ...options, headers: { Accept: "text/html" } });
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  options.signal?.throwIfAborted();
  const there = page.getElementById(id);
  if (there === null) {
    return { answer, page, swapped: false };
  }
  const ours = document.getElementById(id);
  ours.replaceChildren(...there.childNodes);
  ours.classList.remove("arriving");
  void ours.offsetWidth; // so that the animation begins anew
  ours.classList.add("arriving");
  enhance(ours);
  return { answer, page, swapped: true };
}

let shown = here();

function here() {
  return location.pathname + location.search;
}

let turning = new AbortController();

async function turnTo(address) {
  turning.abort(); // who turns again does not want what was asked for before
  turning = new AbortController();
  const { answer, page, swapped } = await swap("quote", address, { signal: turning.signal });
  if (!swapped) {
    location.assign(address);
    return null;
  }
  document.title = page.title;
  return answer.url;
}

document.addEventListener("click", async (event) => {
  const link = event.target.closest("a[data-swap]");
  if (link === null || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) {
    return;
  }
  event.preventDefault();
  const name = link.className;
  try {
    const address = await turnTo(link.href);
    if (address !== null) {
      if (address !== location.href) {
        history.pushState(null, "", address);
      }
      shown = here();
      (document.querySelector(`#quote a.${name}`) ?? document.querySelector("#quote a.another"))?.focus();
      scrollTo({ top: 0 });
    }
  } catch (error) {
    if (error.name !== "AbortError") {
      location.assign(link.href); // the browser says best what is wrong
    }
  }
});

addEventListener("popstate", () => {
  if (here() !== shown) { // and not a place on the same page
    shown = here();
    turnTo(location.href).catch((error) => error.name === "AbortError" || location.reload());
  }
});

document.addEventListener("submit", async (event) => {
  const form = event.target.closest("form[data-swap]");
  if (form === null) {
    return;
  }
  event.preventDefault();
  const button = event.submitter ?? form.querySelector("button");
  if (button.getAttribute("aria-disabled") === "true" || !isRight(form)) {
    return;
  }
  button.setAttribute("aria-disabled", "true");
  const body = new URLSearchParams(new FormData(form));
  try {
    const { page, swapped } = await swap(form.dataset.swap, form.action, { method: "POST", body });
    if (!swapped) {
      tell(form, (page.querySelector(".detail") ?? page.querySelector("h1"))?.textContent ?? "That did not work. Try again in a while.");
    }
  } catch {
    tell(form, "The service cannot be reached just now. Are you online?");
  } finally {
    button.removeAttribute("aria-disabled");
  }
});

// ---- what is wrong with a number, at once; whether it is one, the service knows

function wrongNumber(text) {
  if (text.trim() === "") {
    return "Type your mobile number.";
  }
  const digits = text.replace(/\P{Nd}/gu, "").replace(/^00/u, "");
  if (/[^\p{Nd}\s()+\uff0b.\-/\u00ad\u200b\u2060\u2010-\u2015\u200e\u200f\u202a-\u202e\u2066-\u2069]/u.test(text)) {
    return "A phone number has digits, spaces and dashes only.";
  }
  if (/^\s*0(?!0)/u.test(text)) {
    return "Begin with the country code, as in +91, and leave the first 0 out.";
  }
  if (digits.length > MOST_DIGITS) {
    return "This is too long for a phone number.";
  }
  return digits.length < FEWEST_DIGITS ? "This is too short. Is the country code there?" : "";
}

function wrongCode(text) {
  return /^\s*(\p{Nd}\s*){6}$/u.test(text) ? "" : "The code is six digits.";
}

const WRONG = { mobile: wrongNumber, otp: wrongCode };

function isRight(form) {
  const field = form.querySelector("input:not([type=hidden])");
  const wrong = field === null ? "" : WRONG[field.name](field.value);
  if (wrong !== "") {
    tell(form, wrong);
    field.focus();
  }
  return wrong === "";
}

function tell(form, wrong) {
  const field = form.querySelector("input:not([type=hidden])");
  const error = form.querySelector(".error") ?? document.querySelector("#subscription .error");
  error.textContent = wrong;
  field?.setAttribute("aria-invalid", String(wrong !== ""));
}

function watch(field) {
  // Nobody is told off while still typing: only once the field is left, and from then on with each letter.
  field.addEventListener("blur", () => {
    if (field.value.trim() !== "") {
      tell(field.form, WRONG[field.name](field.value));
    }
  });
  field.addEventListener("input", () => {
    const tooSoon = field.getAttribute("aria-invalid") !== "true";
    const wrong = WRONG[field.name](field.value);
    if (!tooSoon || /only|too long|first 0/u.test(wrong)) {
      tell(field.form, wrong);
    }
  });
}

// ---- a link to share

function copies(button) {
  if (!navigator.clipboard) { // without TLS there is none
    return;
  }
  const link = new URL(button.dataset.copy, location.href).href;
  const said = button.textContent;
  button.hidden = false;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(link);
      button.textContent = "Copied";
    } catch {
      button.textContent = link;
    }
    setTimeout(() => { button.textContent = said; }, 2000);
  });
}

function enhance(part) {
  for (const form of part.querySelectorAll("form[data-swap]")) {
    form.noValidate = true;
  }
  for (const field of part.querySelectorAll("form[data-swap] input:not([type=hidden])")) {
    watch(field);
  }
  for (const button of part.querySelectorAll("button[data-copy]")) {
    copies(button);
  }
  if (part !== document) {
    part.querySelector("[data-focus]")?.focus();
  }
}

enhance(document);
