/** Every way that a first evening goes wrong, made so, and what doctor names first. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Link } from "../../src/cli/doctor-link.ts";
import { identityMend } from "../../src/daemon/state.ts";
import { doctor, dropping, healed, linksOf, untilFirst, untilRefused } from "./support/doctor.ts";
import { Node, untilConnected } from "./support/mesh.ts";
import { closeStages, type Host, Stage } from "./support/stage.ts";

beforeAll(() => {
  if (process.getuid?.() !== 0) throw new Error("the end-to-end tests need root");
});

afterAll(closeStages);

describe("on one machine, doctor names", () => {
  let stage: Stage;
  let host: Host;
  let node: Node;

  beforeAll(async () => {
    stage = Stage.open();
    [host] = await stage.pair();
    node = await Node.make(host, "alone");
  }, 30_000);

  /** `doctor` with a part of the system put out of sight. */
  async function doctorBehind(...before: string[]): Promise<Link | null> {
    const command = [...before, node.program, "doctor", "--json"];
    return linksOf(await host.run(command, { env: node.env })).first;
  }

  test("a daemon that is down", async () => {
    const link = await doctor(node);
    expect([link?.link, link?.mend]).toEqual(["daemon", "run meshvpn up"]);
  });

  test("an identity that is not there", async () => {
    const empty = join(stage.directory, "empty");
    mkdirSync(empty);
    const link = await doctor(node, "--state-dir", empty);
    expect([link?.link, link?.mend]).toEqual(["identity", identityMend]);
  });

  test("the line of a configuration that is wrong", async () => {
    const file = join(stage.directory, "config.toml");
    writeFileSync(file, "\nprot = 1\n");
    const link = await doctor(node, "--config", file);
    expect(link?.link).toBe("configuration");
    expect(link?.words).toContain(`${file}:2: it has the unknown key "prot"; did you mean port?`);
  });

  test("missing privileges", async () => {
    const link = await doctorBehind(
      "setpriv",
      "--bounding-set",
      "-net_admin",
      "--inh-caps",
      "-all",
    );
    expect([link?.link, link?.words]).toEqual([
      "privileges",
      "CAP_NET_ADMIN is missing, without which there is no interface",
    ]);
  });

  test("a TUN that is not there, and one that is none", async () => {
    const hidden = join(stage.directory, "net");
    mkdirSync(hidden);
    const hide = `mount --bind ${hidden} /dev/net && exec "$@"`;
    const behind = ["unshare", "--mount", "sh", "-c", hide, "sh"];
    expect((await doctorBehind(...behind))?.words).toBe("there is no /dev/net/tun");
    writeFileSync(join(hidden, "tun"), "");
    expect((await doctorBehind(...behind))?.words).toBe("/dev/net/tun is no TUN device");
  });

  test("a roster without anybody, then a seed whose name has no address, then one that is silent", async () => {
    await node.up("--seed", "nowhere.invalid:51820");
    expect((await doctor(node))?.mend).toBe("run meshvpn trust KEY or meshvpn join TOKEN");
    const stranger = "hmEMmYzQG4BeWXAlXYTIUnAM0SbS2wkAtkRz3z5dfGY=";
    await node.ok("trust", stranger);
    const unresolved = await doctor(node);
    expect([unresolved?.link, unresolved?.words]).toEqual([
      "seeds",
      "no address is known for nowhere.invalid:51820",
    ]);
    await node.daemon?.stop();
    await node.up("--seed", "192.0.2.77:51820");
    const silent = await untilFirst(node, "seeds");
    expect(silent?.words).toMatch(
      /^192\.0\.2\.77:51820 did not answer \(asked \d+ times\): that node is down, /,
    );
    await node.daemon?.stop();
  }, 30_000);
});

describe("between two, doctor names", () => {
  let stage: Stage;
  let alpha: Node;
  let beta: Node;

  beforeAll(async () => {
    stage = Stage.open();
    const [left, right] = await stage.pair();
    alpha = await Node.make(left, "alpha");
    beta = await Node.make(right, "beta");
    await alpha.trust(beta);
    await beta.trust(alpha);
  }, 30_000);

  test("another network: here what remains possible, there who was refused and why", async () => {
    await alpha.up();
    await beta.up("--seed", alpha.seed, "--network", "another");
    await untilFirst(beta, "seeds", [], "or it is of another network");
    const there = await untilRefused(alpha, "is of another network");
    expect([there.state, there.mend]).toEqual(["broken", "give every node the same --network"]);
    expect(there.words).toStartWith(`${beta.identity}, which calls itself beta,`);
    expect((await doctor(alpha, "beta"))?.link).toBe("network");
    expect(alpha.daemon?.log()).toContain("is of another network, or somebody else says to be it");
    await beta.daemon?.stop();
  }, 30_000);

  test("trust that is missing there: the other side says whom it refused", async () => {
    await alpha.ok("trust", "--remove", "beta");
    await beta.up("--seed", alpha.seed);
    await untilFirst(beta, "seeds");
    const there = await untilRefused(alpha, "is not trusted here");
    expect(there.words).toStartWith(beta.identity);
    // A stranger is no fault.
    expect([there.state, there.mend]).toEqual([
      "unknown",
      `if it is wanted: run meshvpn trust ${beta.identity}`,
    ]);
    expect(alpha.daemon?.log()).toMatch(/info .*: refused: .* is not trusted here; run meshvpn/);
  }, 30_000);

  test("trust that is missing here, with the command that gives it", async () => {
    for (const said of [beta.identity, "beta"]) {
      const link = await doctor(alpha, said);
      expect([link?.link, link?.mend]).toEqual([
        "trust here",
        `run meshvpn trust ${beta.identity}`,
      ]);
    }
    await alpha.trust(beta);
  });

  test("nothing where nothing is broken", async () => {
    await untilConnected([alpha, beta], 10_000);
    expect(await untilFirst(alpha, null, ["beta"])).toBeNull();
    expect(await doctor(alpha)).toBeNull();
  }, 30_000);

  test("a network that carries no large packets", async () => {
    await dropping(beta.host, "udp dport 51820 meta length > 1200");
    const link = await untilFirst(alpha, "mtu", ["beta"]);
    expect(link?.mend).toContain("a smaller --mtu");
    await healed(beta.host);
  }, 30_000);

  test("a firewall inside the tunnel", async () => {
    await dropping(beta.host, "icmpv6 type echo-request");
    const link = await untilFirst(alpha, "path", ["beta"]);
    expect(link?.mend).toContain("a policy or a firewall on the tunnel's interface");
    await healed(beta.host);
  }, 30_000);

  test("another prefix for addresses", async () => {
    await beta.daemon?.stop();
    await beta.up("--seed", alpha.seed, "--prefix", "10.98.0.0/16");
    const link = await untilFirst(alpha, "addresses", ["beta"]);
    expect(link?.words).toBe(
      "beta is of 10.98.0.0/16 and this node of 10.99.0.0/16, so IPv4 does not pass",
    );
  }, 30_000);

  test("a member that has gone", async () => {
    await beta.daemon?.stop();
    const link = await untilFirst(alpha, "path", ["beta"]);
    expect(link?.words).toContain("does not answer a ping");
  }, 30_000);
});

describe("with a common member, doctor says of the other end", () => {
  let alpha: Node;
  let beta: Node;
  let gamma: Node;

  beforeAll(async () => {
    const stage = Stage.open();
    const hosts = await stage.switched(3);
    const make = async (at: number, name: string): Promise<Node> =>
      await Node.make(hosts[at] as Host, name);
    [alpha, beta, gamma] = [await make(0, "alpha"), await make(1, "beta"), await make(2, "gamma")];
    await gamma.trust(alpha, beta);
    await alpha.trust(beta, gamma);
    await beta.trust(gamma);
    await gamma.up("--relay");
    await alpha.up("--seed", gamma.seed);
    await beta.up("--seed", gamma.seed);
    await untilConnected([alpha, gamma], 10_000);
    await untilConnected([beta, gamma], 10_000);
  }, 60_000);

  test("that it does not trust this node", async () => {
    const link = await untilFirst(alpha, "trust there", ["beta"]);
    expect([link?.words, link?.mend]).toEqual([
      "beta does not trust this node, as it says through gamma",
      `run there: meshvpn trust ${alpha.identity}`,
    ]);
  }, 40_000);

  test("nothing where a port is shut and a common member relays", async () => {
    await dropping(beta.host, `ip saddr ${alpha.host.v4} udp dport 51820`);
    await beta.host.runOk(
      `nft add rule inet broken in ip6 saddr ${alpha.host.v6} udp dport 51820 drop`.split(" "),
    );
    await dropping(alpha.host, `ip saddr ${beta.host.v4} udp dport 51820`);
    await alpha.host.runOk(
      `nft add rule inet broken in ip6 saddr ${beta.host.v6} udp dport 51820 drop`.split(" "),
    );
    await beta.trust(alpha);
    await untilConnected([alpha, beta], 20_000);
    expect(await untilFirst(alpha, null, ["beta"])).toBeNull();
    await healed(alpha.host);
    await healed(beta.host);
  }, 60_000);
});
