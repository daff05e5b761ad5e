/** A text in which names, identities and addresses are stood in for, each by the same wherever it is. */

const identity = /[A-Za-z0-9+/]{43}=/g;
const ipv4 = /(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])/g;
/** At least two colons, so that times of day with fractions and MAC addresses are taken as well. */
const colons = /(?<![0-9A-Za-z:])(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{0,4}(?![0-9A-Za-z:])/gi;
/** What says nothing of anybody. */
const kept = new Set(["0.0.0.0", "127.0.0.1", "::", "::1"]);

export function anonymise(text: string, names: readonly string[]): string {
  const standIns = new Map<string, string>();
  const replace =
    (kind: string) =>
    (found: string): string => {
      if (kept.has(found)) return found;
      let standIn = standIns.get(`${kind} ${found}`);
      if (standIn === undefined) {
        standIn = `${kind}-${standIns.size + 1}`;
        standIns.set(`${kind} ${found}`, standIn);
      }
      return standIn;
    };
  // The longest first: one name may be part of another.
  const words = [...new Set(names)]
    .toSorted((a, b) => b.length - a.length)
    .map((name) => new RegExp(`(?<![a-z0-9-])${RegExp.escape(name)}(?![a-z0-9-])`, "g"));
  let out = text.replace(identity, replace("identity")).replace(ipv4, replace("ipv4"));
  out = out.replace(colons, (found) => (isTime(found) ? found : replace("ipv6")(found)));
  for (const word of words) out = out.replace(word, replace("name"));
  return out;
}

/** `16:49:05` is no address. */
function isTime(found: string): boolean {
  return /^\d\d:\d\d:\d\d$/.test(found);
}
