/**
 * Networks behind a member, and everything else through it, with real daemons: beta and alpha are a
 * router apart, a network and a far host lie behind alpha alone. What is not approved is not reached,
 * the tunnel never swallows its own packets, and the kernel is afterwards as it was.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { schemaErrors } from "../support/json-schema.ts";
import { knock, serve } from "./support/doors.ts";
import { Node, untilConnected } from "./support/mesh.ts";
import { until } from "./support/process.ts";
import { closeStages, type Host, Stage } from "./support/stage.ts";

/** Behind alpha, which has the .1 of each. */
const inner = { v4: "192.168.7.10", v6: "fd07::10" };
const far = { v4: "198.51.100.10", v6: "2001:db8:100::10" };
const alphaAddress = "203.0.113.1";

let alpha: Node;
let beta: Node;
let alphaConfig: string;

beforeAll(async () => {
  if (process.getuid?.() !== 0) throw new Error("the end-to-end tests need root");
  const stage = Stage.open();
  const [router, gate, client, lanHost, farHost] = await Promise.all([
    ...[stage.bare(), stage.bare(), stage.bare(), stage.bare(), stage.bare()],
  ] as const);
  const end = (host: Host, name: string, ...addresses: string[]) => ({ host, name, addresses });
  await stage.wire(
    end(router, "eth0", "203.0.113.254/24", "2001:db8:a::254/64"),
    end(gate, "eth0", `${alphaAddress}/24`, "2001:db8:a::1/64"),
  );
  await stage.wire(
    end(router, "eth1", "192.0.2.254/24", "2001:db8:b::254/64"),
    end(client, "eth0", "192.0.2.2/24", "2001:db8:b::2/64"),
  );
  await stage.wire(
    end(gate, "eth1", "192.168.7.1/24", "fd07::1/64"),
    end(lanHost, "eth0", `${inner.v4}/24`, `${inner.v6}/64`),
  );
  await stage.wire(
    end(gate, "eth2", "198.51.100.1/24", "2001:db8:100::1/64"),
    end(farHost, "eth0", `${far.v4}/24`, `${far.v6}/64`),
  );
  await setForwarding(router, 1);
  await setForwarding(gate, 0);
  for (const [host, four, six] of [
    [gate, "203.0.113.254", "2001:db8:a::254"],
    [client, "192.0.2.254", "2001:db8:b::254"],
  ] as const) {
    await host.ip(`route add default via ${four}`);
    await host.ip(`-6 route add default via ${six}`);
  }
  alpha = await Node.make(gate, "alpha");
  beta = await Node.make(client, "beta");
  await alpha.trust(beta);
  await beta.trust(alpha);
  alphaConfig = join(stage.directory, "alpha.toml");
  offer(`offer = ["192.168.7.0/24", "fd07::/64"]\noffer_exit = true\nforward = "masquerade"\n`);
  await alpha.up("--config", alphaConfig);
  await beta.up("--seed", `${alphaAddress}:51820`, "--tcp", "localhost:1");
  await untilConnected([alpha, beta], 15_000);
  await serve(lanHost);
  await serve(farHost);
}, 60_000);

afterAll(closeStages);

function offer(text: string): void {
  writeFileSync(alphaConfig, text);
}

async function setForwarding(host: Host, value: 0 | 1): Promise<void> {
  const words = ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"];
  await host.runOk(["sysctl", "-qw", ...words.map((each) => `${each}=${value}`)]);
}

/** IPv4, then IPv6. */
async function forwarding(host: Host): Promise<string> {
  const words = ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"];
  return (await host.runOk(["sysctl", "-n", ...words])).trim().replace("\n", " ");
}

async function tables(host: Host): Promise<string> {
  return (await host.runOk(["nft", "list", "tables"])).trim();
}

/** Of ours. */
async function rules(host: Host): Promise<number> {
  const all = await Promise.all([host.ip("-4 rule list"), host.ip("-6 rule list")]);
  return all
    .join("")
    .split("\n")
    .filter((line) => line.includes("proto 109")).length;
}

/** From beta, over TCP: what the other side sees as its address. */
async function seenAs(address: string): Promise<string | undefined> {
  const answer = await knock(beta.host, "tcp", address, 7001, 700);
  return answer?.replace("x for ", "").replace("::ffff:", "");
}

async function states(): Promise<Record<string, string>> {
  const said = await beta.ok("routes", "show", "--json");
  expect(schemaErrors("routes-show", said)).toEqual([]);
  const { routes } = JSON.parse(said) as { routes: { prefix: string; state: string }[] };
  return Object.fromEntries(routes.map(({ prefix, state }) => [prefix, state]));
}

describe("a network behind a member", () => {
  test("is offered in its record, and not reached before it is approved", async () => {
    await until("the offer", async () => Object.keys(await states()).length === 4);
    expect(await states()).toEqual({
      "192.168.7.0/24": "offered",
      "fd07::/64": "offered",
      "0.0.0.0/0": "offered",
      "::/0": "offered",
    });
    expect(schemaErrors("status", await beta.ok("status", "--json"))).toEqual([]);
    expect([await seenAs(inner.v4), await seenAs(inner.v6)]).toEqual([undefined, undefined]);
    expect(await rules(beta.host)).toBe(0);
  }, 30_000);

  test("is reached once it is, under the member's own address, as forwarding was asked for", async () => {
    expect([await forwarding(alpha.host), (await alpha.status()).forward]).toEqual([
      "1 1",
      "masquerade",
    ]);
    expect(await beta.ok("routes", "approve", "alpha", "192.168.7.0/24")).toContain("packets go");
    expect(await beta.ok("routes", "approve", "alpha", "fd07::/64")).toContain("packets go");
    expect([await seenAs(inner.v4), await seenAs(inner.v6)]).toEqual(["192.168.7.1", "fd07::1"]);
    expect(await seenAs(far.v4)).toBeUndefined();
    expect(await beta.ok("status")).toContain(`route\t${alpha.identity}\t192.168.7.0/24\tused`);
  }, 30_000);

  test("is subject to the member's policy, by where it goes", async () => {
    await alpha.ok("policy", "allow", "beta", "--to", inner.v4, "tcp", "7001");
    await alpha.ok("policy", "default", "deny");
    expect(await seenAs(inner.v4)).toBe("192.168.7.1");
    expect(await seenAs(inner.v6)).toBeUndefined();
    const tested = await alpha.meshvpn("policy", "test", "beta", inner.v4, "7001");
    expect([tested.code, tested.stdout]).toEqual([
      0,
      `allow: line 2: allow beta to ${inner.v4} tcp 7001\n`,
    ]);
    expect((await alpha.meshvpn("policy", "test", "beta", inner.v6, "7001")).code).toBe(1);
    await alpha.ok("policy", "default", "allow");
  }, 30_000);

  test("can be none of the mesh's own, nor another member's address", async () => {
    const own = `${await beta.address(4)}/32`;
    offer(`offer = ["192.168.7.0/24", "10.99.0.0/16", "${own}"]\nforward = "on"\n`);
    expect(await alpha.ok("reload")).toContain("offer");
    await until("the refusal", async () => (await states())["10.99.0.0/16"] === "refused");
    for (const network of ["10.99.0.0/16", own]) {
      const refused = await beta.meshvpn("routes", "approve", "alpha", network);
      expect([refused.code, refused.stderr.includes("the mesh's own network")]).toEqual([2, true]);
    }
    expect((await states())["fd07::/64"]).toBe("not offered");
    expect(await seenAs(inner.v6)).toBeUndefined();
  }, 30_000);

  test("is hidden behind nobody where forwarding alone was asked for", async () => {
    expect([await tables(alpha.host), await forwarding(alpha.host)]).toEqual(["", "1 0"]);
    // Its answers find back only where the network knows the way.
    expect(await seenAs(inner.v4)).toBeUndefined();
    offer(`offer = ["192.168.7.0/24", "fd07::/64"]\noffer_exit = true\nforward = "masquerade"\n`);
    await alpha.ok("reload");
    await until("fd07::/64 again", async () => (await seenAs(inner.v6)) === "fd07::1");
    await beta.ok("routes", "remove", "alpha", "fd07::/64");
    expect(await seenAs(inner.v6)).toBeUndefined();
    expect(await seenAs(inner.v4)).toBe("192.168.7.1");
  }, 30_000);
});

describe("a strict reverse path", () => {
  test("is named by exit-node and by doctor, for the kernel would drop without a word", async () => {
    const set = async (value: 0 | 1): Promise<string> =>
      await beta.host.runOk(["sysctl", "-qw", `net.ipv4.conf.eth0.rp_filter=${value}`]);
    await set(1);
    const { code, stderr } = await beta.meshvpn("exit-node", "alpha");
    expect([code, stderr.includes("rp_filter of eth0 is 1")]).toEqual([0, true]);
    const doctor = await beta.meshvpn("doctor");
    expect([doctor.code, doctor.stdout]).toEqual([4, expect.stringContaining("broken\texit node")]);
    await set(0);
    await beta.ok("exit-node", "off");
    expect(await beta.ok("doctor")).toContain("ok\troute\t");
  }, 30_000);
});

describe("what is not offered", () => {
  test("is not forwarded to either, whatever the kernel would", async () => {
    await beta.ok("routes", "approve", "alpha", "192.168.7.0/24");
    offer(`offer = ["192.168.7.0/24", "198.51.100.0/24"]\nforward = "masquerade"\n`);
    await alpha.ok("reload");
    await beta.ok("routes", "approve", "alpha", "198.51.100.0/24");
    await until("the far host", async () => (await seenAs(far.v4)) === "198.51.100.1");
    const counter = async (): Promise<number> =>
      JSON.parse(await alpha.ok("status", "--json", "--counters")).counters
        .dataplane_inner_destination_refused;
    expect(await counter()).toBe(0);
    // Until it hears of it, beta sends there all the same, as one would that heeds nobody.
    const words = ["-q", "-n", "-i", "0.002", "-c", "1000", far.v4];
    const pings = beta.host.run(["ping", ...words]);
    await Bun.sleep(200);
    offer(`offer = ["192.168.7.0/24"]\nforward = "masquerade"\n`);
    await alpha.ok("reload");
    expect((await pings).stdout).not.toContain(" 0% packet loss");
    expect(await counter()).toBeGreaterThan(0);
    expect(await seenAs(far.v4)).toBeUndefined();
    await beta.ok("routes", "remove", "alpha", "198.51.100.0/24");
    offer(`offer = ["192.168.7.0/24", "fd07::/64"]\noffer_exit = true\nforward = "masquerade"\n`);
    await alpha.ok("reload");
    await until("the offer of an exit", async () => (await states())["::/0"] === "offered");
  }, 30_000);
});

describe("an exit node", () => {
  test("carries what is for no member, while the tunnel's own packets go where they went", async () => {
    expect(await beta.ok("exit-node", "alpha")).toContain("everything else goes there");
    expect(await beta.ok("exit-node")).toBe("alpha\n");
    expect([await seenAs(far.v4), await seenAs(far.v6)]).toEqual([
      "198.51.100.1",
      "2001:db8:100::1",
    ]);
    // A session is made anew, through the router and not through itself.
    const before = (await beta.member(alpha))?.path;
    await alpha.host.ip("link set eth0 down");
    await alpha.host.ip("link set eth0 up");
    await alpha.host.ip("route replace default via 203.0.113.254");
    await until("the far host again", async () => (await seenAs(far.v4)) !== undefined, {
      timeoutMs: 20_000,
    });
    expect([before, (await beta.member(alpha))?.path]).toEqual([
      expect.stringContaining("direct "),
      expect.stringContaining("direct "),
    ]);
    // Where a stream over TCP would go, it goes by the main table, though it was given as a name.
    expect(await beta.host.ip("rule show")).toMatch(/to 127\.0\.0\.1 fwmark \S+ lookup main/);
    // The local network stays where it is.
    expect(await beta.host.ip("route get 192.0.2.254")).toContain("dev eth0");
    expect(await beta.host.ip("route get 198.51.100.10")).toContain(`dev ${beta.interfaceName}`);
  }, 60_000);

  test("is none any more when it is off, at once", async () => {
    expect(await beta.ok("exit-node", "off")).toBe("off\n");
    expect(await seenAs(far.v4)).toBeUndefined();
    expect(await beta.host.ip("route get 198.51.100.10")).toContain("dev eth0");
    expect(await seenAs(inner.v4)).toBe("192.168.7.1");
  }, 30_000);

  test("is not somebody who does not offer to be one", async () => {
    const refused = await alpha.meshvpn("exit-node", "beta");
    expect([refused.code, refused.stderr.includes("--offer-exit")]).toEqual([2, true]);
  });
});

describe("nothing stays in the kernel", () => {
  test("of a daemon that was killed, once down or up looks; what was approved holds again", async () => {
    expect(await rules(beta.host)).toBeGreaterThan(0);
    beta.daemon?.kill("SIGKILL");
    await beta.daemon?.exited;
    expect(await rules(beta.host)).toBeGreaterThan(0);
    const down = await beta.meshvpn("down");
    expect([down.code, down.stderr.includes("took back")]).toEqual([3, true]);
    expect(await rules(beta.host)).toBe(0);
    await beta.up("--seed", `${alphaAddress}:51820`);
    await until("the network again", async () => (await seenAs(inner.v4)) !== undefined, {
      timeoutMs: 15_000,
    });
    beta.daemon?.kill("SIGKILL");
    await beta.daemon?.exited;
    await beta.ok("keygen", "--force");
    await beta.up("--seed", `${alphaAddress}:51820`);
    expect(await rules(beta.host)).toBe(0);
  }, 60_000);

  test("after down, nor of forwarding and its table after a kill and the next start", async () => {
    expect(await tables(alpha.host)).toContain("table inet meshvpn_");
    alpha.daemon?.kill("SIGKILL");
    await alpha.daemon?.exited;
    expect(await forwarding(alpha.host)).toBe("1 1");
    await alpha.up();
    expect([await forwarding(alpha.host), await tables(alpha.host)]).toEqual(["0 0", ""]);
    await alpha.ok("down");
    await alpha.up("--config", alphaConfig);
    expect(await forwarding(alpha.host)).toBe("1 1");
    await alpha.ok("down");
    expect([await forwarding(alpha.host), await tables(alpha.host)]).toEqual(["0 0", ""]);
  }, 60_000);
});
