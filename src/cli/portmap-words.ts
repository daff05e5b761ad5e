/** What came of asking the gateway for a port, for an operator: what, why, and what to do. Pure. */
import type { PortmapProtocol } from "../daemon/gateway-protocols.ts";
import type { PortMapperStatus } from "../daemon/port-mapper.ts";

/** `port`: the one that members are to reach. */
export function portmapWords({ asked, gateway, mapped }: PortMapperStatus, port: number): string {
  if (mapped !== null) return `${mapped.address}:${mapped.port} by ${mapped.by}, from ${gateway}`;
  if (gateway === null) {
    return "nobody is asked to forward the port: there is no IPv4 gateway, or --no-portmap says so";
  }
  const { pcp, "nat-pmp": pmp, upnp } = asked;
  if (pcp === undefined && pmp === undefined && upnp === undefined) {
    return `the gateway ${gateway} is not asked to forward the port: this node's own address is of the internet, or it has just begun`;
  }
  if (pcp === undefined || pmp === undefined || upnp === undefined) {
    return `the gateway ${gateway} is being asked to forward the port; ask again in a few seconds`;
  }
  const said = [failure("pcp", pcp), failure("nat-pmp", pmp), failure("upnp", upnp)];
  const by = Map.groupBy(said, ({ why }) => why);
  const whys = [...by].map(([why, each]) => {
    return `${each.map(({ protocol }) => protocol).join(", ")}: ${why}`;
  });
  const cause = causes.find((each) => said.some((it) => it.cause === each)) ?? "off";
  return `the gateway ${gateway} forwards no port (${whys.join("; ")}); ${mend(cause, port)}`;
}

/** The first that is found decides what to do. */
const causes = ["nested", "forbidden", "full", "offline"] as const;
type Cause = (typeof causes)[number] | "off";

function mend(cause: Cause, port: number): string {
  const byHand = `forward UDP ${port} there by hand and name it by --announce`;
  switch (cause) {
    case "nested":
      return "it is behind another NAT itself, so a port of its own helps nobody: have a member relay, or ask the provider for a public address";
    case "forbidden":
      return `allow this machine to map ports there, or ${byHand}`;
    case "full":
      return `free a port there, or ${byHand}`;
    case "offline":
      return "see whether it is connected itself";
    case "off":
      return `switch UPnP, NAT-PMP or PCP on there, or ${byHand}`;
  }
}

interface Failure {
  readonly protocol: PortmapProtocol;
  readonly why: string;
  readonly cause: Cause;
}

function failure(protocol: PortmapProtocol, said: string): Failure {
  const code = /^refused with ([0-9]+)$/.exec(said)?.[1];
  const [why, cause] = code === undefined ? (plain[said] ?? other(said)) : refusal(protocol, code);
  return { protocol, why, cause };
}

type Meaning = readonly [why: string, cause: Cause];

/** In the words of daemon/gateway-protocols.ts. */
const plain: Readonly<Record<string, Meaning>> = {
  "no answer": ["no answer", "off"],
  "not supported": ["it does not speak that", "off"],
  "no description": ["it does not describe itself", "off"],
  "no service of that kind": ["it forwards no ports by that", "off"],
  "no external address": ["it has no address outside", "offline"],
  "every port is taken": ["every port that was asked for is taken", "full"],
};

function other(said: string): Meaning {
  return said.endsWith("is of a reserved range") ? [said, "nested"] : [said, "off"];
}

/** RFC 6887 section 7.4, RFC 6886 section 3.5, UPnP's WANIPConnection:2 section 2.5. */
const refusals: Readonly<Record<PortmapProtocol, Readonly<Record<string, Meaning>>>> = {
  pcp: {
    2: ["not allowed", "forbidden"],
    7: ["its own network fails", "offline"],
    8: ["it has no room", "full"],
    10: ["this machine has all that it may have", "full"],
    11: ["it cannot give such an address or port", "full"],
    12: ["another NAT is between it and this machine", "nested"],
  },
  "nat-pmp": {
    2: ["not allowed", "forbidden"],
    3: ["its own network fails", "offline"],
    4: ["it has no room", "full"],
  },
  upnp: {
    606: ["not allowed", "forbidden"],
    718: ["the port is another's", "full"],
    728: ["it has no room", "full"],
    729: ["the port is another's", "full"],
  },
};

function refusal(protocol: PortmapProtocol, code: string): Meaning {
  const [why, cause] = refusals[protocol][code] ?? ["refused", "off"];
  return [`${why} (code ${code})`, cause];
}
