/** Two daemons on one machine: what one asks of the kernel, the other does not take back. */
import { afterAll, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { routingPlace } from "../../src/mesh/route-plan.ts";
import { Node } from "./support/mesh.ts";
import { until } from "./support/process.ts";
import { closeStages, type Host, Stage } from "./support/stage.ts";

afterAll(closeStages);

const switches = ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"];

async function forwarding(host: Host): Promise<string> {
  return (await host.runOk(["sysctl", "-n", ...switches])).trim().replace("\n", " ");
}

test("forwarding stays while one of them wants it, and is afterwards as it was", async () => {
  const stage = Stage.open();
  const [host] = await stage.switched(1);
  if (host === undefined) throw new Error("a switch without a host");
  await host.runOk(["sysctl", "-qw", ...switches.map((each) => `${each}=0`)]);
  // Its name is among what is put back.
  await host.ip("link add name odd+~name type veth");
  const start = async (name: string, port: number): Promise<Node> => {
    const node = await Node.make(host, name);
    const config = join(stage.directory, `${name}.toml`);
    const text = `offer = ["192.168.7.0/24", "fd07::/64"]\nforward = "on"\nport = ${port}\n`;
    writeFileSync(config, text);
    await node.up("--config", config);
    return node;
  };
  const [first, second] = [await start("first", 51_001), await start("second", 51_002)];
  await first.ok("down");
  await until("it again", async () => (await forwarding(host)) === "1 1");
  expect(second.daemon?.log()).toContain("another program put it back");
  await second.ok("down");
  expect(await forwarding(host)).toBe("0 0");

  const [killed, other] = [await start("killed", 51_003), await start("other", 51_004)];
  killed.daemon?.kill("SIGKILL");
  await killed.daemon?.exited;
  expect((await killed.meshvpn("down")).stderr).toContain("took back");
  await until("it again", async () => (await forwarding(host)) === "1 1");
  await other.ok("down");
  expect(await forwarding(host)).toBe("0 0");
  expect((await host.runOk(["sysctl", "-n", "net.ipv6.conf.odd+~name.accept_ra"])).trim()).toBe(
    "1",
  );
}, 60_000);

/** Names that are as good as random, of which two have the same places among the rules. */
function meeting(stage: Stage): readonly [string, string] {
  const byPlace = new Map<number, string>();
  for (;;) {
    const name = stage.interfaceName();
    const { first } = routingPlace(name);
    const other = byPlace.get(first);
    if (other !== undefined) return [other, name];
    byPlace.set(first, name);
  }
}

test("rules of two interfaces whose places are the same are each one's own", async () => {
  const stage = Stage.open();
  const [gate, host] = await stage.switched(2);
  if (gate === undefined || host === undefined) throw new Error("a switch without hosts");
  const [alpha, beta] = [await Node.make(gate, "alpha"), await Node.make(host, "beta")];
  await alpha.trust(beta);
  await beta.trust(alpha);
  await alpha.up("--offer", "192.168.7.0/24");
  const [its, others] = meeting(stage);
  await beta.up("--interface", its, "--seed", alpha.seed);
  await until(
    "the route",
    async () => (await beta.meshvpn("routes", "approve", "alpha", "192.168.7.0/24")).code === 0,
  );
  const route = async (): Promise<string> => await host.ip("route get 192.168.7.10");
  await until("the rule", async () => (await route()).includes(its));

  const gamma = await Node.make(host, "gamma");
  const elsewhere = ["--port", "51821", "--prefix", "10.98.0.0/16", "--network", "other"];
  await gamma.up("--interface", others, ...elsewhere);
  expect(await route()).toContain(its);
  await gamma.ok("down");
  expect(await route()).toContain(its);
  await gamma.meshvpn("down", "--interface", others);
  expect(await route()).toContain(its);
  await beta.ok("down");
  expect(await host.ip("rule list")).not.toContain("proto 109");
}, 60_000);
