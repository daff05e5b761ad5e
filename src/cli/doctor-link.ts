/** One link of doctor's chain, and which is the first that is broken. */
export type LinkState = "ok" | "broken" | "unknown";

export interface Link {
  readonly link: string;
  readonly state: LinkState;
  readonly words: string;
  /** Empty where there is nothing to do. */
  readonly mend: string;
}

export function firstBroken(links: readonly Link[]): Link | undefined {
  return links.find(({ state }) => state === "broken");
}

export function ok(link: string, words: string): Link {
  return { link, state: "ok", words, mend: "" };
}

export function broken(link: string, words: string, mend: string): Link {
  return { link, state: "broken", words, mend };
}

export function unknown(link: string, words: string, mend: string): Link {
  return { link, state: "unknown", words, mend };
}
