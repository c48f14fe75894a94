/**
 * How a secret may be written in a text that quotes it: as it is, as in URLs and forms, inside a string of JSON, in base64.
 * Pure.
 */

/** No form is longer: what is, stands for itself by its beginning. */
export const MAX_FORM = 1024;
/** In base64, what is shorter is found anywhere. */
const MIN_ENCODED = 4;

export function formsOf(secret: string): readonly string[] {
  const encoded = secret.length < MIN_ENCODED ? [] : base64Of(secret);
  return bounded([secret, ...encoded].flatMap(quoted));
}

/** Of `user:password`, as Basic has it. */
export function pairForms(pair: string): readonly string[] {
  return bounded(base64Of(pair).flatMap(quoted));
}

function bounded(forms: readonly string[]): readonly string[] {
  return [...new Set(forms.map((form) => form.slice(0, MAX_FORM)))].filter(Boolean);
}

/** With and without padding: what is left of that tells the length. */
function base64Of(text: string): string[] {
  const plain = Buffer.from(text, "utf8").toString("base64");
  const url = plain.replaceAll("+", "-").replaceAll("/", "_");
  return [plain, url].flatMap((one) => [one, one.replace(/=+$/, "")]);
}

function quoted(text: string): string[] {
  const json = JSON.stringify(text).slice(1, -1);
  // As Go's encoding/json does it, and others that keep to ASCII.
  const html = json.replace(/[&<>\u2028\u2029]/g, escaped);
  const ascii = html.replace(/[^\x20-\x7e]/g, escaped);
  return [text, ...percents(text), json, html, ascii, ...[html, ascii].map(upperEscapes)];
}

function escaped(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}

function upperEscapes(text: string): string {
  return text.replace(/\\u[0-9a-f]{4}/g, (one) => `\\u${one.slice(2).toUpperCase()}`);
}

/** encodeURIComponent's, all but RFC 3986's unreserved, and as forms have it (RFC 1866 §8.2.1); digits in both cases. */
function percents(text: string): string[] {
  const whole = text.isWellFormed() ? text : text.toWellFormed();
  const component = encodeURIComponent(whole);
  const strict = component.replace(/[!'()*]/g, (one) => `%${one.charCodeAt(0).toString(16).toUpperCase()}`);
  const form = new URLSearchParams([["", whole]]).toString().slice(1);
  const query = strict.replaceAll("%20", "+");
  const forms = [component, strict, form, query];
  return [...forms, ...forms.map((one) => one.replace(/%[0-9A-F]{2}/g, (digits) => digits.toLowerCase()))];
}
