/** A gateway that forwards ports by itself: miniupnpd on the router of a host behind a NAT. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { NatHost } from "./nat.ts";
import { Running, until } from "./process.ts";

export interface Speaks {
  /** PCP and NAT-PMP. */
  readonly pcp: boolean;
  readonly upnp: boolean;
}

let made = 0;

/** `outside`: the address that it says it has; its own unless given. */
export async function forwarding(
  { host, router }: NatHost,
  speaks: Speaks,
  outside?: string,
): Promise<Running> {
  if (router === undefined) throw new Error("this host has no router");
  made += 1;
  const path = join(host.stage.directory, `miniupnpd-${made}`);
  const rules = [
    "table inet miniupnpd {",
    "  chain forward { type filter hook forward priority -1; policy accept; jump forwarded; }",
    "  chain prerouting { type nat hook prerouting priority -101; policy accept; jump mapped; }",
    "  chain postrouting { type nat hook postrouting priority 99; policy accept; jump hidden; }",
    "  chain forwarded { }",
    "  chain mapped { }",
    "  chain hidden { }",
    "}",
  ].join("\n");
  await host.stage.runIn(router, ["sh", "-c", `nft -f - <<'RULES'\n${rules}\nRULES`]);
  writeFileSync(
    `${path}.conf`,
    [
      "ext_ifname=eth0",
      "listening_ip=lan0",
      ...(outside === undefined ? [] : [`ext_ip=${outside}`]),
      `enable_natpmp=${speaks.pcp ? "yes" : "no"}`,
      `enable_upnp=${speaks.upnp ? "yes" : "no"}`,
      "ipv6_disable=yes",
      "secure_mode=yes",
      "uuid=0b0d6b0a-6f5c-4c38-9b4e-0d9c6f7a1b22",
      "upnp_table_name=miniupnpd",
      "upnp_nat_table_name=miniupnpd",
      "upnp_forward_chain=forwarded",
      "upnp_nat_chain=mapped",
      "upnp_nat_postrouting_chain=hidden",
      "allow 1024-65535 192.168.1.0/24 1024-65535",
      "deny 0-65535 0.0.0.0/0 0-65535",
      "",
    ].join("\n"),
  );
  const command = ["miniupnpd", "-d", "-f", `${path}.conf`, "-P", `${path}.pid`];
  const running = host.stage.adopt(
    new Running(["ip", "netns", "exec", router, ...command], { logPath: `${path}.log` }),
  );
  await until("miniupnpd", () => /listening|HTTP|ready/i.test(running.log()), {
    timeoutMs: 10_000,
    evidence: () => running.log(),
  });
  return running;
}
