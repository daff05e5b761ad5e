/** Names and numbers as signed statements hold them: one form each, and nothing else decodes. */
import type { Reader, Writer } from "../base/bytes.ts";
import { assert } from "../base/errors.ts";

export const nameBytesMax = 63;
/** JavaScript's exact integers; what is numbered is Unix time in milliseconds, so this is no bound. */
export const sequenceMax = Number.MAX_SAFE_INTEGER;

/** A DNS label of lower case, or empty. */
export function isName(name: string): boolean {
  return name === "" || /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(name);
}

/** A host name as a name of the mesh: a DNS label of `a-z0-9-`, possibly empty. */
export function sanitizeName(text: string): string {
  return (text.split(".", 1)[0] as string)
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .slice(0, nameBytesMax)
    .replace(/^-+|-+$/g, "");
}

/** A length and as many bytes. */
export function writeName(writer: Writer, name: string): void {
  assert(isName(name), "the name is not sanitised");
  writer.u8(name.length).bytes(new TextEncoder().encode(name));
}

export function readName(reader: Reader): string | undefined {
  const length = reader.u8();
  if (length === undefined || length > nameBytesMax) return undefined;
  const bytes = reader.bytes(length);
  if (bytes === undefined) return undefined;
  const name = String.fromCharCode(...bytes);
  return isName(name) ? name : undefined;
}

/** undefined beyond JavaScript's exact integers. */
export function toInteger(value: bigint | undefined): number | undefined {
  return value === undefined || value > BigInt(sequenceMax) ? undefined : Number(value);
}
