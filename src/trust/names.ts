/**
 * What members are called: by their organisation's certificate, else as they say themselves. Two may
 * say the same: the name is then that of the older certificate of one organisation, and where those
 * cannot be compared, nobody's. A clash is shown, never resolved by chance.
 */
import type { Seniority } from "./address.ts";

export interface Bearer {
  /** Text. */
  readonly identity: string;
  /** Empty: it has none. */
  readonly name: string;
  readonly seniority: Seniority | undefined;
}

/** Of each name borne by several, whose it is: undefined where it is nobody's. */
export function nameClashes(bearers: Iterable<Bearer>): ReadonlyMap<string, string | undefined> {
  const byName = new Map<string, Bearer[]>();
  for (const bearer of bearers) {
    if (bearer.name === "") continue;
    const others = byName.get(bearer.name);
    if (others === undefined) byName.set(bearer.name, [bearer]);
    else others.push(bearer);
  }
  const clashes = new Map<string, string | undefined>();
  for (const [name, all] of byName) {
    if (all.length < 2) continue;
    const eldest = all.find((one) => all.every((other) => other === one || isOlder(one, other)));
    clashes.set(name, eldest?.identity);
  }
  return clashes;
}

function isOlder(a: Bearer, b: Bearer): boolean {
  if (a.seniority === undefined || a.seniority.organisation !== b.seniority?.organisation) {
    return false;
  }
  return a.seniority.issuedWallMs < b.seniority.issuedWallMs;
}
