/** What a node warns of, in an operator's words: what, why, and what to do. */
import { unreachable } from "../base/errors.ts";
import type { WarningCode } from "../mesh/node.ts";

/** Of a seed that is not asked. */
export interface SeedWarning {
  /** As it was named. */
  readonly subject: string;
  readonly words: string;
  readonly mend: string;
}

export function seedWarning(
  code: "seed_key_needed" | "seed_not_trusted",
  subject: string,
): SeedWarning {
  if (code === "seed_not_trusted") {
    const words = `the seed ${subject} is not asked: its key is not trusted`;
    return { subject, words, mend: "run meshvpn trust KEY" };
  }
  const words = `the seed ${subject} is not asked: organisations or more than 16 identities are trusted, so anybody might be there`;
  const mend = "name it as KEY@HOST:PORT, with the key that meshvpn export prints there";
  return { subject, words, mend };
}

/** `subject`: a member, this node, or a seed, as `mesh/node.ts` says for each code. */
export function warningText(code: WarningCode, subject: string): string {
  switch (code) {
    case "seed_key_needed":
    case "seed_not_trusted": {
      const { words, mend } = seedWarning(code, subject);
      return `${words}; ${mend}`;
    }
    case "ipv4_contested":
      return `${subject} has no IPv4 address here: it claims one that another member holds; reach it over IPv6, or wait until it moves`;
    case "ipv4_prefix_differs":
      return `${subject} has no IPv4 address here: it is configured with another prefix; give every node the same --prefix`;
    case "ipv4_exhausted":
      return `this node has no IPv4 address: others hold all that it may claim; give every node a larger --prefix`;
    case "wireguard_key_duplicate":
      return `${subject} is not admitted: its WireGuard key is another's; make it a new one there, and find out who copied it`;
    case "own_record_newer":
      return "a newer record of this node is about: its state was restored from a copy, or another node runs under its identity; make sure that it is the only one";
    case "members_full":
      return `there is no room for ${subject}: the table of members is full; trust fewer`;
    default:
      return unreachable(code);
  }
}
