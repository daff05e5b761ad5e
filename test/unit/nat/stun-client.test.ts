/** STUN on a virtual clock: servers that say the truth, lie or are silent, behind any NAT. */
import { describe, expect, test } from "bun:test";
import { type Endpoint, formatEndpoint } from "../../../src/base/endpoint.ts";
import { StunClient } from "../../../src/nat/stun-client.ts";
import { SeededRandom } from "../../support/seeded-random.ts";
import { answerBytes, type Request, readRequest } from "../../support/stun-answers.ts";

const inside = "192.168.1.2";
const outside: Endpoint = { address: "192.0.2.7", port: 40_000 };

interface Server {
  readonly name: string;
  readonly endpoint: Endpoint;
  /** What it answers, and from where; undefined: nothing. */
  readonly answer?: (
    request: Request,
    to: Endpoint,
  ) => { readonly bytes: Uint8Array; readonly from?: Endpoint } | undefined;
}

function endpoint(address: string, port = 3478): Endpoint {
  return { address, port };
}

/** Sees this node where the function says. */
function honest(
  name: string,
  address: string,
  see: (to: Endpoint) => Endpoint = () => outside,
): Server {
  return {
    name,
    endpoint: endpoint(address),
    answer: ({ id }, to) => ({ bytes: answerBytes(id, { mapped: see(to) }) }),
  };
}

class Scene {
  readonly client = new StunClient(new SeededRandom(3));
  readonly sent: { readonly atMs: number; readonly to: string; readonly bytes: number }[] = [];
  readonly awaited: { readonly id: Uint8Array; readonly untilMs: number }[] = [];
  readonly #servers: readonly Server[];
  nowMs = 1_000;

  constructor(...servers: readonly Server[]) {
    this.#servers = servers;
    this.client.setOwn([inside]);
    this.client.setServers(this.now, servers);
    this.#carry();
  }

  get now() {
    return { ms: this.nowMs, wallMs: this.nowMs };
  }

  get verdict() {
    return this.client.verdict(this.now);
  }

  run(ms: number): this {
    const end = this.nowMs + ms;
    this.#carry();
    for (let due = this.client.nextTimeout(); due !== undefined && due <= end; ) {
      this.nowMs = Math.max(this.nowMs, due);
      this.client.handleTimeout(this.now);
      this.#carry();
      due = this.client.nextTimeout();
    }
    this.nowMs = end;
    return this;
  }

  #carry(): void {
    for (let it = this.client.pollExpectation(); it; it = this.client.pollExpectation()) {
      this.awaited.push({ id: it.id, untilMs: this.nowMs + it.ms });
    }
    for (let it = this.client.pollTransmit(); it; it = this.client.pollTransmit()) {
      const { to, bytes } = it;
      this.sent.push({ atMs: this.nowMs, to: formatEndpoint(to), bytes: bytes.length });
      const request = readRequest(bytes);
      const server = this.#servers.find((each) => each.endpoint.address === to.address);
      const answer = request === undefined ? undefined : server?.answer?.(request, to);
      if (answer !== undefined) this.client.handle(this.now, answer.bytes, answer.from ?? to);
    }
  }
}

describe("an address is believed", () => {
  test("where two servers of different names and addresses agree", () => {
    const scene = new Scene(honest("a", "198.51.100.1"), honest("b", "198.51.100.2"));
    expect(scene.verdict).toEqual({
      reflexive: [outside],
      mapping: "endpoint-independent",
      kind: "easy",
    });
    expect(scene.client.takeNews(scene.now)).toBe(true);
    expect(scene.client.takeNews(scene.now)).toBe(false);
  });

  test("and none where the node has that address itself", () => {
    const see = () => ({ address: inside, port: 51_820 });
    const servers = ["10.0.0.1", "10.0.0.2"].map((at) => honest(at, at, see));
    expect(new Scene(...servers).verdict.kind).toBe("none");
  });

  const lies: readonly [string, readonly Server[]][] = [
    ["one server alone", [honest("a", "198.51.100.1")]],
    ["two addresses of one name", [honest("a", "198.51.100.1"), honest("a", "198.51.100.2")]],
    ["two names of one address", [honest("a", "198.51.100.1"), honest("b", "198.51.100.1")]],
    [
      "one that says otherwise than the other",
      [honest("a", "198.51.100.1"), honest("b", "198.51.100.2", () => endpoint("203.0.113.9", 9))],
    ],
    [
      "two against two",
      ["1", "2", "3", "4"].map((at) =>
        honest(at, `198.51.100.${at}`, () => (at < "3" ? outside : endpoint("203.0.113.9", 9))),
      ),
    ],
    [
      "a reserved range, whoever agrees on it",
      ["1", "2"].flatMap((at) =>
        honest(at, `198.51.100.${at}`, () => endpoint("10.0.0.1", 51_820)),
      ),
    ],
    [
      "loopback, of servers in a private network",
      ["1", "2"].flatMap((at) => honest(at, `10.0.0.${at}`, () => endpoint("127.0.0.1", 9))),
    ],
  ];
  for (const [what, servers] of lies) {
    test(`but not for ${what}`, () => {
      const { reflexive } = new Scene(...servers).verdict;
      expect(reflexive).toEqual([]);
    });
  }

  test("against one liar among three, which is counted", () => {
    const scene = new Scene(
      honest("a", "198.51.100.1"),
      honest("b", "198.51.100.2"),
      honest("c", "198.51.100.3", () => endpoint("203.0.113.9", 9)),
    );
    expect(scene.verdict.reflexive).toEqual([outside]);
    expect(scene.client.counters.disagreed).toBeGreaterThanOrEqual(1);
    const believed = scene.client.status(scene.now).map(({ believed }) => believed);
    expect(believed).toEqual([true, true, false]);
  });

  test("only while it is fresh, and not after the network changed", () => {
    const scene = new Scene(honest("a", "198.51.100.1"), honest("b", "198.51.100.2"));
    scene.nowMs += 80_000;
    expect(scene.verdict.reflexive).toEqual([]);
    const other = new Scene(honest("a", "198.51.100.1"), honest("b", "198.51.100.2"));
    other.client.networkChanged(other.now);
    expect(other.verdict.reflexive).toEqual([]);
    other.run(10);
    expect(other.verdict.reflexive).toEqual([outside]);
  });
});

describe("the NAT's behaviour is found:", () => {
  test("a mapping for each destination makes it hard", () => {
    let port = 30_000;
    const see = () => {
      port += 1;
      return endpoint(outside.address, port);
    };
    const scene = new Scene(honest("a", "198.51.100.1", see), honest("b", "198.51.100.2", see));
    expect(scene.verdict).toMatchObject({ reflexive: [], kind: "hard" });
  });

  /** By RFC 5780: it answers from elsewhere, where the filter lets that through. */
  function able(name: string, address: string, lets: "any" | "port" | "none"): Server {
    const other = endpoint("198.51.100.200", 3479);
    return {
      name,
      endpoint: endpoint(address),
      answer: ({ changeAddress, changePort, id }) => {
        const bytes = answerBytes(id, { mapped: outside, other });
        if (changeAddress) return lets === "any" ? { bytes, from: other } : undefined;
        if (!changePort) return { bytes };
        const from = endpoint(address, other.port);
        return lets === "none" ? undefined : { bytes, from };
      },
    };
  }

  const filters = [
    ["any", "endpoint-independent"],
    ["port", "address-dependent"],
    ["none", "address-and-port-dependent"],
  ] as const;
  for (const [lets, behaviour] of filters) {
    test(`filtering is ${behaviour}, and nobody but the servers is asked`, () => {
      const scene = new Scene(able("a", "198.51.100.1", lets), honest("b", "198.51.100.2"));
      scene.run(9_000);
      expect(scene.client.filtering).toBe(behaviour);
      const asked = new Set(scene.sent.map(({ to }) => to.slice(0, to.lastIndexOf(":"))));
      expect([...asked].toSorted()).toEqual(["198.51.100.1", "198.51.100.2"]);
    });
  }

  test("nothing gets out where no server ever answers", () => {
    const scene = new Scene(
      { name: "a", endpoint: endpoint("198.51.100.1") },
      { name: "b", endpoint: endpoint("198.51.100.2") },
    );
    scene.run(39_000);
    expect(scene.verdict.kind).toBe("unknown");
    scene.run(1_000);
    expect(scene.verdict.kind).toBe("blocked");
  });
});

describe("what is sent", () => {
  test("to a silent server is the RFC's schedule, and then ever less", () => {
    const scene = new Scene({ name: "a", endpoint: endpoint("198.51.100.1") });
    scene.run(39_499);
    const at = scene.sent.map(({ atMs }) => atMs - 1_000);
    expect(at).toEqual([0, 500, 1_500, 3_500, 7_500, 15_500, 31_500]);
    expect(scene.awaited).toHaveLength(1);
    expect(scene.awaited[0]?.untilMs).toBe(40_500);
    scene.run(3_600_000);
    expect(scene.sent.length).toBeLessThan(110);
  });

  test("again to whoever is silent, when somebody waits, who knows after so long that it is", () => {
    for (const askedMs of [0, 100, 10_000, 39_000]) {
      const scene = new Scene(
        { name: "a", endpoint: endpoint("198.51.100.1") },
        honest("b", "198.51.100.2"),
      );
      const outcome = () => scene.client.status(scene.now)[0]?.outcome;
      scene.run(askedMs);
      const before = scene.sent.length;
      scene.client.refresh(scene.now, 5_000);
      scene.run(4_999);
      expect(outcome()).toBe("asked");
      expect(scene.client.busy).toBe(true);
      // To both, and three times more to the silent one; one that was just asked is not asked at once.
      expect(scene.sent.length - before).toBe(askedMs === 0 || askedMs === 100 ? 4 : 5);
      scene.run(1);
      expect(outcome()).toBe("silent");
      expect(scene.client.busy).toBe(false);
      expect(scene.awaited.at(-1)?.untilMs).toBeLessThanOrEqual(Math.max(scene.nowMs, 40_500));
    }
  });

  test("is asked anew where the network changes meanwhile, and waited for no longer than that", () => {
    const scene = new Scene({ name: "a", endpoint: endpoint("198.51.100.1") });
    scene.client.refresh(scene.now, 5_000);
    scene.run(3_000);
    scene.client.networkChanged(scene.now);
    scene.run(4_999);
    expect(scene.client.busy).toBe(true);
    scene.run(1);
    expect(scene.client.status(scene.now)[0]?.outcome).toBe("silent");
    scene.client.networkChanged(scene.now);
    scene.run(30_000);
    expect(scene.client.busy).toBe(true);
  });

  test("is bounded, whatever servers do and however often the network changes", () => {
    const flood: Server = {
      name: "a",
      endpoint: endpoint("198.51.100.1"),
      answer: ({ id }) => ({ bytes: answerBytes(id, { error: 500 }) }),
    };
    const scene = new Scene(flood, honest("b", "198.51.100.2"));
    for (let at = 0; at < 600; at += 1) {
      scene.client.networkChanged(scene.now);
      scene.client.refresh(scene.now, 5_000);
      scene.run(100);
    }
    expect(scene.sent.length).toBeLessThanOrEqual(40 + 61);
    expect(scene.client.counters.requestsHeld).toBeGreaterThan(0);
    for (const { bytes } of scene.sent) expect(bytes).toBeLessThanOrEqual(28);
  });

  test("has another id each time", () => {
    const scene = new Scene(honest("a", "198.51.100.1"), honest("b", "198.51.100.2"));
    scene.run(600_000);
    const ids = new Set(scene.awaited.map(({ id }) => id.join(" ")));
    expect(ids.size).toBe(scene.awaited.length);
  });
});

test("an answer from elsewhere is refused and counted, and the right one still comes", () => {
  let wrong = true;
  const liar: Server = {
    name: "a",
    endpoint: endpoint("198.51.100.1"),
    answer: ({ id }) => {
      const from = wrong ? endpoint("203.0.113.5") : undefined;
      wrong = false;
      const bytes = answerBytes(id, { mapped: outside });
      return from === undefined ? { bytes } : { bytes, from };
    },
  };
  const scene = new Scene(liar, honest("b", "198.51.100.2"));
  expect(scene.client.counters.sourceWrong).toBe(1);
  expect(scene.sent).toHaveLength(2);
  scene.run(600);
  expect(scene.verdict.reflexive).toEqual([outside]);
});

test("a late answer, a second one and rubbish are counted and change nothing", () => {
  const scene = new Scene(honest("a", "198.51.100.1"));
  const id = scene.awaited[0]?.id as Uint8Array;
  const bytes = answerBytes(id, { mapped: endpoint("203.0.113.9", 9) });
  scene.client.handle(scene.now, bytes, endpoint("198.51.100.1"));
  scene.client.handle(scene.now, bytes.subarray(1), endpoint("198.51.100.1"));
  expect(scene.client.counters).toMatchObject({ unexpected: 1, malformed: 1, answers: 1 });
});
