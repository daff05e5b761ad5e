/** Invitations, certificates and revocations among whole nodes on a virtual network. */
import { describe, expect, test } from "bun:test";
import { formatEndpoint } from "../../src/base/endpoint.ts";
import { signCertificate } from "../../src/trust/certificate.ts";
import { identityOf } from "../../src/trust/identity.ts";
import { decodeRevocation, signRevocation } from "../../src/trust/revocation.ts";
import { formatSigned, parseSigned } from "../../src/trust/statement.ts";
import { NobleCrypto } from "../support/noble-crypto.ts";
import { areConnected, type MeshHost, MeshWorld } from "./mesh-world.ts";

const crypto = new NobleCrypto();
const organisationSeed = new Uint8Array(32).fill(77);
const organisation = identityOf(crypto, crypto.importSecret(organisationSeed));
const yearMs = 365 * 86_400_000;

function certify(world: MeshWorld, host: MeshHost, issuedWallMs = world.now.wallMs): void {
  host.trustState = {
    organisations: [organisation.publicKey],
    certificate: signCertificate(crypto, world.networkId, organisation, {
      identity: host.identity,
      issuedWallMs,
      expiresWallMs: world.now.wallMs + yearMs,
      isVouch: false,
      name: "",
      groups: [],
    }),
  };
}

/** Certified nodes, of which the first is the seed of the others. */
function certified(world: MeshWorld, count: number): MeshHost[] {
  const hosts = Array.from({ length: count }, () => world.host());
  for (const host of hosts) {
    certify(world, host);
    if (host !== hosts[0]) host.seeds = [(hosts[0] as MeshHost).asSeed()];
  }
  return hosts;
}

function revocationOf(world: MeshWorld, host: MeshHost): Uint8Array {
  const bytes = signRevocation(
    crypto,
    world.networkId,
    organisation,
    host.identity,
    world.now.wallMs,
  );
  expect(decodeRevocation(bytes)).toBeDefined();
  return Uint8Array.of(1, ...bytes);
}

/** Datagrams pass within a side only; with no sides, everywhere. */
function split(world: MeshWorld, sides: readonly (readonly MeshHost[])[]): void {
  const names = sides.map((side) => new Set(side.map(({ endpoint }) => formatEndpoint(endpoint))));
  world.network.filter = ({ from, to }) =>
    names.length === 0 ||
    names.some((side) => side.has(formatEndpoint(from)) && side.has(formatEndpoint(to)));
}

/** As `world.run`, and looks every 50 ms only: a status costs more than most events. */
function until(world: MeshWorld, ms: number, done: () => boolean): number {
  let passedMs = 0;
  while (passedMs < ms && !done()) passedMs += world.run(50);
  return passedMs;
}

/** Whether nobody of them has a peer of the other's any more. */
function areCutOff(hosts: readonly MeshHost[], from: MeshHost): boolean {
  return hosts.every((host) => host.member(from) === undefined);
}

describe("nodes that one organisation certified", () => {
  test("are a mesh without any trust by key", () => {
    const world = new MeshWorld(1);
    const hosts = certified(world, 6);
    for (const host of hosts) host.start();
    expect(until(world, 10_000, () => areConnected(hosts))).toBeLessThan(10_000);
    const [ant, bee] = hosts as [MeshHost, MeshHost];
    expect(ant.member(bee)?.certificate?.organisation).toEqual(organisation.publicKey);
  });

  test("let a member go when its certificate expires", () => {
    const world = new MeshWorld(2);
    const [ant, bee] = certified(world, 2) as [MeshHost, MeshHost];
    const certificate = signCertificate(crypto, world.networkId, organisation, {
      identity: bee.identity,
      issuedWallMs: world.now.wallMs,
      expiresWallMs: world.now.wallMs + 90_000,
      isVouch: false,
      name: "",
      groups: [],
    });
    bee.trustState = { ...bee.trustState, certificate };
    ant.start();
    bee.start();
    until(world, 10_000, () => areConnected([ant, bee]));
    world.run(70_000);
    expect(ant.isConnectedTo(bee)).toBe(true);
    world.run(25_000);
    expect(ant.member(bee)).toBeUndefined();
  });

  test("cut a revoked one off everywhere within 5 s, and at once on the other side of a split when it heals", () => {
    const world = new MeshWorld(3);
    const hosts = certified(world, 9);
    for (const host of hosts) host.start();
    until(world, 10_000, () => areConnected(hosts));
    const revoked = hosts[8] as MeshHost;
    const far = hosts.slice(6, 8);
    const near = hosts.slice(0, 6);
    split(world, [[...near, revoked], far]);
    world.run(1_000);
    (hosts[4] as MeshHost).setTrust({ statements: [revocationOf(world, revoked)] });
    expect(until(world, 10_000, () => areCutOff(near, revoked))).toBeLessThan(5_000);
    world.run(20_000);
    split(world, []);
    expect(until(world, 60_000, () => areCutOff(far, revoked))).toBeLessThan(30_000);
    // And nobody lets it in again, restarted or not.
    const [ant] = near as [MeshHost];
    ant.stop();
    ant.start();
    world.run(15_000);
    expect(areCutOff([...near, ...far], revoked)).toBe(true);
    expect(areConnected([...near, ...far])).toBe(true);
  });

  test("accept whom it vouched for, who carries no certificate", () => {
    const world = new MeshWorld(4);
    const hosts = certified(world, 3);
    const [ant] = hosts as [MeshHost];
    const guest = world.host();
    guest.trustState = { organisations: [organisation.publicKey] };
    guest.seeds = [ant.asSeed()];
    for (const host of [...hosts, guest]) host.start();
    world.run(10_000);
    expect(areCutOff(hosts, guest)).toBe(true);
    const vouch = signCertificate(crypto, world.networkId, organisation, {
      identity: guest.identity,
      issuedWallMs: world.now.wallMs,
      expiresWallMs: world.now.wallMs + yearMs,
      isVouch: true,
      name: "",
      groups: [],
    });
    const statement = Uint8Array.of(2, ...vouch);
    ant.setTrust({ statements: [statement] });
    expect(until(world, 70_000, () => areConnected([...hosts, guest]))).toBeLessThan(70_000);
    expect(hosts.every((host) => [...(host.trustState.statements ?? [])].length === 1)).toBe(true);
    const text = formatSigned({ kind: "certificate", bytes: vouch });
    // As a certificate a vouch is worth nothing.
    expect(parseSigned(text)).toBeUndefined();
  });
});

describe("an invitation", () => {
  function issuerAnd(world: MeshWorld, count: number): [MeshHost, MeshHost[]] {
    const hosts = certified(world, count);
    const [issuer] = hosts as [MeshHost];
    issuer.organisationSeed = organisationSeed;
    for (const host of hosts) host.start();
    until(world, 10_000, () => areConnected(hosts));
    return [issuer, hosts];
  }

  test("brings a node in, once; its certificate survives a restart and the token does not", () => {
    const world = new MeshWorld(5);
    const [issuer, hosts] = issuerAnd(world, 3);
    const [joiner, thief] = [world.host(), world.host()];
    joiner.joinBy(issuer, issuer.invite(), [issuer]);
    joiner.start();
    expect(until(world, 10_000, () => areConnected([...hosts, joiner]))).toBeLessThan(10_000);
    expect(joiner.joining).toBeUndefined();
    expect(joiner.trustState.certificate).toBeDefined();
    thief.joinBy(issuer, issuer.lastSecret, [issuer]);
    thief.start();
    world.run(20_000);
    expect(areCutOff(hosts, thief)).toBe(true);
    expect(issuer.running.allCounters().introductions_invites_refused).toBeGreaterThan(0);
    joiner.stop();
    joiner.start();
    expect(until(world, 20_000, () => areConnected([...hosts, joiner]))).toBeLessThan(20_000);
  });

  test("is redeemed through another member, where the issuer cannot be reached", () => {
    const world = new MeshWorld(6);
    const [issuer, hosts] = issuerAnd(world, 3);
    const joiner = world.host();
    const [, bee, cat] = hosts as [MeshHost, MeshHost, MeshHost];
    split(world, [
      [joiner, bee, cat],
      [issuer, bee, cat],
    ]);
    joiner.joinBy(issuer, issuer.invite(), [bee]);
    joiner.start();
    expect(until(world, 20_000, () => areConnected([joiner, bee, cat]))).toBeLessThan(20_000);
    expect(bee.running.allCounters().trust_forwards_sent).toBeGreaterThan(0);
  });

  test("is redeemed where the operator says that its issuer is, if the token's address leads nowhere", () => {
    const world = new MeshWorld(9);
    const [issuer, hosts] = issuerAnd(world, 2);
    const joiner = world.host();
    joiner.joinBy(issuer, issuer.invite(), []);
    const nowhere = { ...issuer.endpoint, port: 9 };
    const { secret } = joiner.joining as { secret: Uint8Array };
    const seeds = [{ identity: issuer.identity, endpoint: nowhere }];
    joiner.joining = { secret, issuer: issuer.identity, seeds };
    joiner.seeds = [{ identity: issuer.identity, endpoint: issuer.endpoint }];
    joiner.start();
    expect(until(world, 10_000, () => areConnected([...hosts, joiner]))).toBeLessThan(10_000);
  });

  test("whose answers are lost is redeemed all the same, and only once", () => {
    const world = new MeshWorld(7, { conditions: { loss: 0.5 } });
    const hosts = certified(world, 1);
    const [issuer] = hosts as [MeshHost];
    issuer.organisationSeed = organisationSeed;
    issuer.start();
    const joiner = world.host();
    joiner.joinBy(issuer, issuer.invite(), [issuer]);
    joiner.start();
    expect(until(world, 120_000, () => areConnected([issuer, joiner]))).toBeLessThan(120_000);
    expect(issuer.invites[0]?.redeemed.length).toBe(1);
  });

  test("is nothing to a member that did not issue it, and floods are bounded", () => {
    const world = new MeshWorld(8);
    const [issuer, hosts] = issuerAnd(world, 2);
    const [, bee] = hosts as [MeshHost, MeshHost];
    const joiner = world.host();
    // A secret that nobody gave, to a member that passes it on.
    joiner.joinBy(issuer, new Uint8Array(16).fill(9), [bee]);
    joiner.start();
    world.run(60_000);
    expect(areCutOff(hosts, joiner)).toBe(true);
    const counters = issuer.running.allCounters();
    expect(counters.introductions_not_admitted).toBeGreaterThan(0);
  });
});

describe("a node that comes back alone", () => {
  /** The same machine at another address, with its disk. */
  function moved(world: MeshWorld, host: MeshHost, address: string): MeshHost {
    host.stop();
    const { name, identitySeed, wireguardKey } = host;
    const next = world.host({ name, identitySeed, wireguardKey, address });
    next.trustState = host.trustState;
    for (const identity of host.trusted) next.trusted.push(identity);
    next.memory = host.memory;
    next.lastSent = host.lastSent;
    for (const [key, value] of host.members) next.members.set(key, value);
    for (const [key, value] of host.accepted) next.accepted.set(key, value);
    return next.start();
  }

  test.each([
    ["by key", (world: MeshWorld) => world.mesh(6)],
    ["by certificate", (world: MeshWorld) => certified(world, 6)],
  ])("after all its seeds have moved finds them through any member, trusted %s", (_, make) => {
    const world = new MeshWorld(9);
    const hosts = make(world);
    const [bee, cat, dog, ant] = hosts as [MeshHost, MeshHost, MeshHost, MeshHost];
    ant.seeds = [bee.asSeed(), cat.asSeed()];
    for (const host of hosts) host.start();
    until(world, 10_000, () => areConnected(hosts));
    ant.stop();
    world.run(5_000);
    const others = [
      moved(world, bee, "198.51.100.1"),
      moved(world, cat, "198.51.100.2"),
      moved(world, hosts[4] as MeshHost, "198.51.100.4"),
      moved(world, hosts[5] as MeshHost, "198.51.100.5"),
      dog,
    ];
    until(world, 60_000, () => areConnected(others));
    // Of six, one alone is where it was.
    ant.start();
    expect(until(world, 60_000, () => areConnected([ant, ...others]))).toBeLessThan(30_000);
  });
});
