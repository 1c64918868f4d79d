/** One cell as JSON, and one cell as an id. What says nothing becomes `undefined`, and is left out. */

export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

const LONELY = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/;
// The service counts U+0085 as white space too.
const BLANK = /^[\s\u0085]*$/u;

/** A text that UTF-8 can carry: half a surrogate pair is no character. */
export function text(value: string): string {
  return value.replace(LONELY, "\ufffd");
}

export function toJson(value: unknown): Json | undefined {
  switch (typeof value) {
    case "string":
      return text(value);
    case "boolean":
      return value;
    case "number":
      if (Number.isNaN(value)) return undefined;
      return Number.isFinite(value) ? value : value > 0 ? "Infinity" : "-Infinity";
    case "bigint": {
      const exact = value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER);
      // Larger integers lose digits in clients that read numbers as doubles, so they travel as text.
      return exact ? Number(value) : value.toString();
    }
    case "object":
      return value === null ? undefined : structured(value);
    default:
      return undefined;
  }
}

function structured(value: object): Json | undefined {
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? undefined : value.toISOString();
  if (Array.isArray(value) || value instanceof Set) return Array.from(value, (entry) => toJson(entry) ?? null);
  if (value instanceof ArrayBuffer) return bytes(new Uint8Array(value));
  if (value instanceof Uint8Array) return bytes(value);
  if (ArrayBuffer.isView(value)) {
    return Symbol.iterator in value ? Array.from(value as unknown as Iterable<unknown>, (e) => toJson(e) ?? null) : undefined;
  }
  // Decimals, Temporal and their like know how they are written.
  if ("toJSON" in value && typeof value.toJSON === "function") return toJson(value.toJSON());
  const entries = value instanceof Map ? Array.from(value) : Object.entries(value);
  const fields = entries.map(([name, entry]): [string, Json] => [text(String(name)), toJson(entry) ?? null]);
  return Object.fromEntries(fields);
}

function bytes(value: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(value);
  } catch {
    return btoa(Array.from(value, (byte) => String.fromCharCode(byte)).join(""));
  }
}

/** Whether the service takes this as an empty field. */
export function saysNothing(value: Json | undefined): boolean {
  return value === undefined || value === null || (typeof value === "string" && BLANK.test(value));
}

/** A cell as the id of its row; `undefined` where it can be none, and the row goes by its place. */
export function toId(value: unknown): string | undefined {
  const known = toJson(value);
  if (known === undefined || known === null || typeof known === "object") return undefined;
  const written = String(known);
  // The service counts characters, not UTF-16 units.
  return BLANK.test(written) || CONTROL.test(written) || Array.from(written).length > 128 ? undefined : written;
}
