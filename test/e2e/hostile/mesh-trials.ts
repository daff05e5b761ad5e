/** Attacks on a mesh node by strangers who know its identity. */
import { parseIdentity } from "../../../src/trust/identity.ts";
import { port } from "../support/mesh.ts";
import { MeshField } from "./mesh-field.ts";
import {
  againstControl,
  atLeast,
  atMost,
  diffieHellmanPerSecondMax,
  equal,
  perSecond,
  type Trial,
  told,
  total,
} from "./trial.ts";

/** Of a program that starts, asks and connects; the handshake is a small part of it. */
const newMemberSecondsMax = 8;
const newMemberSecondsMaxQuick = 20;
const connectTimeoutMs = 30_000;

export const meshTrials: readonly Trial[] = [
  {
    name: "F2-introductions",
    title: "a flood of introductions with a valid MAC from spoofed sources",
    run: async (form) => {
      await using field = await MeshField.open();
      const key = parseIdentity(field.victim.identity);
      if (key === undefined) throw new Error(`${field.victim.identity} is no identity`);
      const kind = "introduction";
      const attack = { mode: "flood", kind, port, perSecond: 20_000, key } as const;
      const { attacks, share, about } = await againstControl(field, form, attack, 0.85);
      const bytesIn = attacks.reduce((sum, each) => sum + each.unprovenBytes.in, 0);
      const bytesOut = attacks.reduce((sum, each) => sum + each.unprovenBytes.out, 0);
      const running = await field.attacker.start({ ...attack, seconds: form.quick ? 6 : 12 });
      const seconds = await field.newMemberSeconds(connectTimeoutMs);
      await running.stop();
      return [
        share,
        atMost("Diffie-Hellman/s", perSecond(attacks, "diffie_hellman"), diffieHellmanPerSecondMax),
        atMost("F4: bytes out for each byte in", bytesOut / bytesIn, 1),
        atMost(
          "seconds until a new member is connected, from its start",
          seconds,
          form.quick ? newMemberSecondsMaxQuick : newMemberSecondsMax,
        ),
        equal("ten pings pass after it", await field.tunnelHolds(), true),
        equal("the node lives", field.victimLives, true),
        atLeast("introductions seen", seen(attacks), 1),
        told("asked for a cookie", total(attacks, "introduction_cookie_invalid")),
        ...about,
      ];
    },
  },
];

function seen(attacks: Parameters<typeof total>[0]): number {
  return total(attacks, "introductions_received") + total(attacks, "introduction_cookie_invalid");
}
