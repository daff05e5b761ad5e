/** Columns: typed arrays by small numbers, which grow by half. */

/** Of columns that held `had` and are to hold `least`. */
export function grownCapacity(least: number, had: number): number {
  return Math.max(least, Math.ceil(1.5 * had));
}

/** Copies a column into a longer one. */
export function grown<T extends { set(from: T): void }>(from: T, to: T): T {
  to.set(from);
  return to;
}
