/** The word that somebody meant who wrote another: for errors that name it. */
import { assert } from "./errors.ts";

/** The candidate that the fewest edits reach, if they are few; undefined where none is near. */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  let best: string | undefined;
  let editsMin = Math.min(word.length, 3);
  for (const candidate of candidates) {
    const edits = editDistance(word.toLowerCase(), candidate);
    if (edits >= editsMin) continue;
    best = candidate;
    editsMin = edits;
  }
  return best;
}

/** Levenshtein's. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, at) => at);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const swap = (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(swap, (row[j] as number) + 1, (next[j - 1] as number) + 1));
    }
    row = next;
  }
  const edits = row[b.length];
  assert(edits !== undefined, "the last row is as long as the word");
  return edits;
}
