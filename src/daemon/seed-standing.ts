/**
 * Which of the seeds that the operator names are not asked as trust stands, and what to do about it:
 * mesh/dial-target.ts's rule, told before one is needed. A member to reach by TCP may not be for days.
 */
import { whyNotAsked } from "../mesh/dial-target.ts";
import type { Roster } from "../trust/roster.ts";
import { placeText } from "./host-resolver.ts";
import type { MeshConfig } from "./setting.ts";
import { type SeedWarning, seedWarning } from "./warnings.ts";

type Trust = Pick<Roster, "mayAsk" | "mayAdmitUnknown" | "size">;

export function unaskedSeeds(
  { seed, tcp }: Pick<MeshConfig, "seed" | "tcp">,
  trust: Trust,
): readonly SeedWarning[] {
  const over = {
    udp: seed.map((each) => ({ ...each, subject: placeText(each) })),
    tcp: tcp.map(({ identity, target }) => ({ identity, subject: tcpSubject(target) })),
  };
  return [...over.udp, ...over.tcp].flatMap(({ identity, subject }) => {
    const why = whyNotAsked(identity, trust);
    return why === undefined ? [] : [seedWarning(why, subject)];
  });
}

function tcpSubject({ host, port, tls }: MeshConfig["tcp"][number]["target"]): string {
  return `${tls ? "tls://" : ""}${placeText({ host, port })} (--tcp)`;
}
