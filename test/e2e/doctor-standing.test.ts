/**
 * Nodes that were let in once and are not any more, or whose clocks are wrong: each is refused in
 * silence, so doctor names the cause where it is known, at the refusing end.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { attackProgram } from "./support/attacker.ts";
import { doctor, untilFirst, untilRefused } from "./support/doctor.ts";
import { Node, untilConnected } from "./support/mesh.ts";
import { closeStages, type Host, Stage } from "./support/stage.ts";

beforeAll(() => {
  if (process.getuid?.() !== 0) throw new Error("the end-to-end tests need root");
});

afterAll(closeStages);

describe("in a network of an organisation, doctor names", () => {
  /** Long enough to see it in force. */
  const lifeS = 12;
  let alpha: Node;
  let beta: Node;
  let gamma: Node;

  beforeAll(async () => {
    const stage = Stage.open();
    const hosts = await stage.switched(3);
    alpha = Node.fresh(hosts[0] as Host, "alpha");
    beta = Node.fresh(hosts[1] as Host, "beta");
    gamma = Node.fresh(hosts[2] as Host, "gamma");
    await alpha.ok("init", "--name", "office");
    alpha.identity = (await alpha.ok("export")).trim();
    await alpha.up();
    await gamma.join((await alpha.ok("invite")).trim());
    await beta.join((await alpha.ok("invite", "--expires", `${lifeS}s`)).trim());
    await untilConnected([alpha, beta, gamma], 10_000);
  }, 60_000);

  test("nothing while the certificate holds", async () => {
    expect(await doctor(beta)).toBeNull();
    expect(await doctor(alpha, "beta")).toBeNull();
  });

  test("an expired certificate: on the node that bears it, and where it is refused", async () => {
    const own = await untilFirst(beta, "certificate", [], "this node's certificate expired on ");
    expect(own?.mend).toContain(`meshvpn org sign ${beta.identity}`);
    const there = await untilFirst(alpha, "trust here", [beta.identity], "has a certificate that");
    expect(there?.mend).toBe(own?.mend as string);
    const refused = await untilRefused(alpha, "has a certificate that expired on 2");
    expect([refused.state, refused.mend]).toEqual(["broken", own?.mend as string]);
    expect((await doctor(alpha, "beta"))?.link).toBe("trust here");
    expect(alpha.daemon?.log()).toMatch(/beta \(.*\) is no longer a member: it has a certificate/);
    expect(alpha.daemon?.log()).toMatch(/warning .*: refused: .*, which calls itself beta, has a/);
  }, 60_000);

  test("nothing any more once it was signed anew, as it said", async () => {
    const certificate = (await alpha.ok("org", "sign", beta.identity, "--name", "beta")).trim();
    await beta.ok("trust", certificate);
    await untilConnected([alpha, beta], 20_000);
    expect(await untilFirst(beta, null)).toBeNull();
    expect(await untilFirst(alpha, null, ["beta"])).toBeNull();
  }, 60_000);

  test("a node that was revoked: by members as such, and on that node itself", async () => {
    await alpha.ok("org", "revoke", beta.identity);
    const here = await untilFirst(alpha, "trust here", [beta.identity], "was revoked");
    expect(here?.mend).toContain("meshvpn keygen --force");
    // Since the certificate ended it may have been no member there at all: what counts is the reason.
    await untilFirst(gamma, "trust here", [beta.identity], "was revoked");
    const refused = await untilRefused(alpha, "was revoked");
    // It is as its organisation wants it.
    expect(refused.state).toBe("unknown");
    expect(await doctor(alpha)).toBeNull();
    // There it is known only if somebody still told it before it was cut off.
    await untilFirst(beta, /^(certificate|seeds|members)$/, [], "", 60_000);
  }, 120_000);
});

describe("with a wrong clock, doctor names", () => {
  let alpha: Node;
  let beta: Node;
  /** It never met alpha while its clock was right. */
  let gamma: Node;
  let shift: (seconds: number) => void;

  beforeAll(async () => {
    const stage = Stage.open();
    const hosts = await stage.switched(3);
    const file = join(stage.directory, "shift");
    shift = (seconds) => writeFileSync(file, `${seconds}\n`);
    shift(0);
    const env = { LD_PRELOAD: await attackProgram("libwall_clock.so"), WALL_CLOCK_SHIFT: file };
    alpha = await Node.make(hosts[0] as Host, "alpha");
    beta = await Node.make(hosts[1] as Host, "beta", { env });
    gamma = await Node.make(hosts[2] as Host, "gamma", { env });
    await alpha.trust(beta, gamma);
    await beta.trust(alpha);
    await gamma.trust(alpha);
    await alpha.up();
  }, 300_000);

  test("one that is an hour off, while the two still talk", async () => {
    shift(-3_600);
    await beta.up("--seed", alpha.seed);
    await untilConnected([alpha, beta], 10_000);
    const link = await untilFirst(alpha, "clocks", ["beta"]);
    expect(link?.words).toMatch(/^the clock of beta is 3(599|60[01]) s away from that of alpha$/);
    await beta.daemon?.stop();
  }, 60_000);

  test("one that is days behind, at the end that refuses what it signs", async () => {
    shift(-3 * 86_400);
    await gamma.up("--seed", alpha.seed);
    const link = await untilFirst(alpha, "clocks", ["gamma"], "more than a day behind this one");
    expect(link?.mend).toContain("timedatectl set-ntp true");
    expect((await untilRefused(alpha, "more than a day behind")).state).toBe("broken");
    expect(alpha.daemon?.log()).toMatch(/warning .*: refused: .*gamma.* more than a day behind/);
    await untilFirst(gamma, "seeds", [], "did not answer");
    await gamma.daemon?.stop();
  }, 60_000);

  test("one that was never set, before anything else", async () => {
    shift(-Math.floor(Date.now() / 1000));
    expect((await doctor(beta))?.link).toBe("clock");
  });
});
