/**
 * An internet with NATs: a switch that stands for the outside, public hosts on it, and hosts behind
 * routers that translate by nftables. All private networks are the same one, as at home. A router
 * drops what comes in unasked before connection tracking confirms it: an entry made by a stray
 * packet would take the mapping from the host that is about to send there.
 */
import { Host, ip, type Stage } from "./stage.ts";

/**
 * `open` has a public address. `full-cone`: whoever sends to the mapping gets in. `restricted`: one
 * mapping for all destinations, and only who was sent to gets in, by address and port. `symmetric`
 * and `symmetric-random`: a mapping for each destination, its port the next or any. `udp-blocked`:
 * TCP alone gets out. `ipv6-only`: a public address, and no IPv4.
 */
export const natKinds = [
  "open",
  "full-cone",
  "restricted",
  "symmetric",
  "symmetric-random",
  "udp-blocked",
  "ipv6-only",
] as const;
/** `dual-stack`: as `open`, with IPv6 too; for cases of its own, not in the matrix. */
export type NatKind = (typeof natKinds)[number] | "dual-stack";

const privateV4 = "192.168.1.2";
const gatewayV4 = "192.168.1.1";
const port = 51820;
const outsideMax = 250;

export class Internet {
  readonly stage: Stage;
  readonly #switch: string;
  #outside = 0;

  private constructor(stage: Stage, namespace: string) {
    this.stage = stage;
    this.#switch = namespace;
  }

  static async open(stage: Stage): Promise<Internet> {
    const namespace = await stage.namespace("s");
    const bridge = "type bridge stp_state 0 forward_delay 0 mcast_snooping 0";
    await ip(["-n", namespace, "link", "add", "name", "lan", ...bridge.split(" ")]);
    await ip(["-n", namespace, "link", "set", "lan", "up"]);
    return new Internet(stage, namespace);
  }

  /** A host with public addresses of one family or both. */
  async public(families: readonly (4 | 6)[] = [4, 6]): Promise<Host> {
    const namespace = await this.stage.namespace("h");
    const { v4, v6 } = await this.#plug(namespace, families);
    return new Host(this.stage, namespace, { v4, v6 });
  }

  /** Another address on eth0 in place of the one it has. */
  async move(host: Host): Promise<void> {
    this.#outside += 1;
    const number = this.#outside;
    const shown: { addr_info: { family: string; local: string; prefixlen: number }[] }[] =
      JSON.parse(await host.ip("-json address show dev eth0"));
    const old = shown.flatMap(({ addr_info }) => addr_info).find(({ family }) => family === "inet");
    if (old === undefined) throw new Error("the host has no address to leave");
    await host.ip(`address delete ${old.local}/${old.prefixlen} dev eth0`);
    await host.ip(`address add 192.0.2.${number}/24 dev eth0`);
  }

  async behind(kind: NatKind): Promise<NatHost> {
    if (kind === "dual-stack") return new NatHost(await this.public(), undefined, "");
    if (kind === "open") return new NatHost(await this.public([4]), undefined, "");
    if (kind === "ipv6-only") return new NatHost(await this.public([6]), undefined, "");
    const router = await this.stage.namespace("r");
    const { v4 } = await this.#plug(router, [4]);
    const namespace = await this.stage.namespace("h");
    const peer = `type veth peer name lan0 netns ${router}`;
    await ip(["-n", namespace, "link", "add", "name", "eth0", ...peer.split(" ")]);
    const host = new Host(this.stage, namespace, { v4: privateV4, v6: "" });
    await ip(["-n", router, "address", "add", `${gatewayV4}/24`, "dev", "lan0"]);
    await ip(["-n", router, "link", "set", "lan0", "up"]);
    await host.ip(`address add ${privateV4}/24 dev eth0`);
    await host.ip("link set eth0 up");
    await host.ip(`route add default via ${gatewayV4}`);
    const nat = new NatHost(host, router, v4);
    await nat.inRouter(["sysctl", "-qw", "net.ipv4.ip_forward=1"]);
    await nat.translate(kind);
    return nat;
  }

  /** Gives a namespace an eth0 on the switch, with the next addresses. */
  async #plug(
    namespace: string,
    families: readonly (4 | 6)[],
  ): Promise<{ v4: string; v6: string }> {
    this.#outside += 1;
    const number = this.#outside;
    if (number > outsideMax) throw new Error(`the internet has ${outsideMax} addresses`);
    const peer = `master lan type veth peer name eth0 netns ${namespace}`;
    await ip(["-n", this.#switch, "link", "add", "name", `p${number}`, ...peer.split(" ")]);
    await ip(["-n", this.#switch, "link", "set", `p${number}`, "up"]);
    await ip(["-n", namespace, "link", "set", "eth0", "up"]);
    const v4 = families.includes(4) ? `192.0.2.${number}` : "";
    const v6 = families.includes(6) ? `2001:db8::${number.toString(16)}` : "";
    const add = ["-n", namespace, "address", "add"];
    if (v4 !== "") await ip([...add, `${v4}/24`, "dev", "eth0"]);
    if (v6 !== "") await ip([...add, `${v6}/64`, "dev", "eth0", "nodad"]);
    return { v4, v6 };
  }
}

/** A host, and the router before it, where there is one. */
export class NatHost {
  readonly host: Host;
  readonly router: string | undefined;
  /** The router's address outside; empty without one. */
  readonly outsideV4: string;

  constructor(host: Host, router: string | undefined, outsideV4: string) {
    this.host = host;
    this.router = router;
    this.outsideV4 = outsideV4;
  }

  /** Translates this way from now on; what was translated before is forgotten. */
  async translate(kind: NatKind): Promise<void> {
    await this.#rules(rulesOf(kind, this.outsideV4));
    await this.forget();
  }

  /** Mappings end after so long without a packet, in seconds. */
  async mappingTimeout(seconds: number): Promise<void> {
    const names = ["nf_conntrack_udp_timeout", "nf_conntrack_udp_timeout_stream"];
    for (const name of names) {
      await this.inRouter(["sysctl", "-qw", `net.netfilter.${name}=${seconds}`]);
    }
  }

  /** Lets nothing through, either way, between the host and those addresses. */
  async block(...addresses: string[]): Promise<void> {
    const rules = addresses.flatMap((address) => {
      const family = address.includes(":") ? "ip6" : "ip";
      return ["daddr", "saddr"].map((end) => `    ${family} ${end} ${address} drop`);
    });
    const chains = ["forward", "input", "output"].map((hook) =>
      [
        `  chain ${hook} {`,
        `    type filter hook ${hook} priority filter - 1;`,
        ...rules,
        "  }",
      ].join("\n"),
    );
    await this.#nft([
      "table inet block {}",
      "delete table inet block",
      "table inet block {",
      ...chains,
      "}",
    ]);
  }

  async unblock(): Promise<void> {
    await this.#nft(["table inet block {}", "delete table inet block"]);
  }

  /** The router drops what is longer, and says nothing. */
  async narrow(bytes: number): Promise<void> {
    await this.#nft([
      "table ip narrow {",
      "  chain through {",
      "    type filter hook forward priority filter - 2;",
      `    meta length > ${bytes} drop`,
      "  }",
      "}",
    ]);
  }

  /** Forgets every mapping, as a router that restarts. */
  async forget(): Promise<void> {
    await this.inRouter(["conntrack", "-F"]).catch((error: unknown) => {
      if (!`${error}`.includes("flushed")) throw error;
    });
  }

  async inRouter(command: readonly string[]): Promise<string> {
    if (this.router === undefined) throw new Error("this host has no router");
    return await this.host.stage.runIn(this.router, command);
  }

  /** Takes host and router away. */
  drop(): void {
    this.host.stage.drop(this.host.namespace);
    if (this.router !== undefined) this.host.stage.drop(this.router);
  }

  async #rules(rules: string): Promise<void> {
    await this.inRouter(["sh", "-c", `nft -f - <<'RULES'\nflush ruleset\n${rules}\nRULES`]);
  }

  /** In the router, or where there is none in the host itself. */
  async #nft(lines: readonly string[]): Promise<void> {
    const rules = lines.join("\n");
    const where = this.router ?? this.host.namespace;
    await this.host.stage.runIn(where, ["sh", "-c", `nft -f - <<'RULES'\n${rules}\nRULES`]);
  }
}

function rulesOf(kind: NatKind, outside: string): string {
  const source: Partial<Record<NatKind, string>> = {
    symmetric: `meta l4proto udp snat to ${outside} : numgen inc mod 20000 offset 20000`,
    "symmetric-random": "meta l4proto udp masquerade fully-random",
  };
  const first = source[kind];
  return [
    "table ip nat {",
    "  chain out {",
    "    type nat hook postrouting priority srcnat;",
    ...(first === undefined ? [] : [`    oifname "eth0" ${first}`]),
    '    oifname "eth0" masquerade',
    "  }",
    "  chain in {",
    "    type nat hook prerouting priority dstnat;",
    ...(kind === "full-cone"
      ? [`    iifname "eth0" udp dport ${port} dnat to ${privateV4}:${port}`]
      : []),
    "  }",
    "}",
    "table ip filter {",
    "  chain through {",
    "    type filter hook forward priority filter; policy drop;",
    ...(kind === "udp-blocked" ? ["    meta l4proto udp drop"] : []),
    '    iifname "lan0" accept',
    "    ct status dnat accept",
    "    ct state established,related accept",
    "  }",
    "  chain own {",
    "    type filter hook input priority filter; policy accept;",
    '    iifname "eth0" drop',
    "  }",
    "}",
  ].join("\n");
}
