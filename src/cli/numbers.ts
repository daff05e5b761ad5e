/** Numbers on a command line. */
import { usageError } from "./errors.ts";

/** undefined where it was not given. MeshError `usage` where it is none or out of range. */
export function wholeNumber(
  flag: string,
  said: unknown,
  min: number,
  max: number,
): number | undefined {
  if (said === undefined) return undefined;
  const value = typeof said === "string" && /^[0-9]{1,9}$/.test(said) ? Number(said) : Number.NaN;
  if (value >= min && value <= max) return value;
  const why = `${JSON.stringify(said)} is not a whole number from ${min} to ${max}`;
  throw usageError(`cannot use ${flag}`, why, "correct it");
}
