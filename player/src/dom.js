// Small helpers for making parts of the page. Text is always set as text.

/** An element with text or children; `attributes` are set as they are, those that are null are left out. */
export function make(page, name, attributes = {}, ...children) {
  const element = page.createElement(name);
  for (const [key, value] of Object.entries(attributes)) if (value !== null && value !== undefined) element.setAttribute(key, value);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Makes a button that stays pressed until it is pressed again. */
export function toggleButton(button, onChange) {
  button.onclick = () => {
    const on = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(on));
    onChange(on);
  };
}

/** Offers bytes for download under a name. */
export function offer(page, blob, name) {
  const url = URL.createObjectURL(blob);
  const link = make(page, "a", { href: url, download: name });
  page.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** A number as people read it, with a real minus sign. */
export function numberText(value, unit = "") {
  const digits = unit === "m/s" || unit === "s" || (unit === "" && Math.abs(value) < 10) ? 1 : 0;
  const rounded = value.toFixed(unit === "s" ? 2 : digits);
  const text = (Number(rounded) === 0 ? rounded.replace("-", "") : rounded).replace("-", "−");
  return unit === "°" ? `${text}°` : unit ? `${text} ${unit}` : text;
}
