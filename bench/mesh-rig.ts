/**
 * Two members of a mesh on a wire, each with a policy of so many rules: the last lets in what the loads
 * do, and all before it speak of something else, so that the first packet of a flow is held against
 * every one. Without rules it is the same mesh with nothing to judge by.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Node, untilConnected } from "../test/e2e/support/mesh.ts";
import type { Host } from "../test/e2e/support/stage.ts";

const connectMs = 20_000;

export interface Mesh {
  /** The far member's, inside the tunnel. */
  readonly address: string;
  /** Of the daemons, the near one first. */
  readonly pids: readonly number[];
}

export async function openMesh(
  hosts: readonly [Host, Host],
  rules: number,
  mtu: number,
): Promise<Mesh> {
  const near = await Node.make(hosts[0], "near");
  const far = await Node.make(hosts[1], "far");
  await near.trust(far);
  await far.trust(near);
  for (const [node, other] of [
    [near, far],
    [far, near],
  ] as const) {
    if (rules === 0) continue;
    writeFileSync(join(node.directory, "policy"), policyText(rules, other.name), { mode: 0o600 });
  }
  await near.up("--mtu", `${mtu}`);
  await far.up("--mtu", `${mtu}`, "--seed", near.seed);
  await untilConnected([near, far], connectMs);
  const status = await Promise.all([near.status(), far.status()]);
  return { address: await far.address(4), pids: status.map(({ pid }) => pid) };
}

/** Of every kind: members, groups, ports and destinations. */
export function policyText(rules: number, other: string): string {
  const kinds = [
    (at: number): string => `deny ${other} tcp ${10_000 + at}`,
    (at: number): string => `deny any udp ${10_000 + at}-${10_500 + at}`,
    (at: number): string => `allow group:g${at} tcp 22`,
    (at: number): string => `allow any to 192.0.2.${at % 256} tcp`,
  ];
  const before = Array.from({ length: Math.max(0, rules - 1) }, (_, at) =>
    (kinds[at % kinds.length] as (typeof kinds)[number])(at),
  );
  return ["default deny", ...before, `allow ${other}`, ""].join("\n");
}
