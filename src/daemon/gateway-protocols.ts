/**
 * The three ways of asking a gateway to forward a port, each as one question with one answer: PCP,
 * NAT-PMP and UPnP. Owns their sockets, waits and limits. Only the gateway is spoken to and heeded: the
 * kernel drops what comes from elsewhere to a connected socket, and to the search's socket this file does.
 */

import {
  decodePcpMap,
  decodePmpAddress,
  decodePmpMap,
  encodePcpMap,
  encodePmpAddress,
  encodePmpMap,
  type MapAnswer,
  type MapWish,
  pcpPort,
} from "../nat/pcp.ts";
import {
  action,
  type Control,
  controlOf,
  errorOf,
  externalAddressOf,
  locationOf,
  reservedPortOf,
  searches,
  ssdpGroup,
  ssdpPort,
  upnpBodyBytesMax,
} from "../nat/upnp.ts";
import type { Gateway } from "./gateway.ts";
import { askHttp } from "./http-ask.ts";

export const portmapProtocols = ["pcp", "nat-pmp", "upnp"] as const;
export type PortmapProtocol = (typeof portmapProtocols)[number];

/** Between two tries, and after the last. */
const waitsMs = [250, 500, 1_000, 1_500] as const;
const searchMs = 2_000;
const httpMs = 5_000;
const answersMax = 64;
/** UPnP's errors: the port is another's; the gateway knows no end of a lease. */
const errors = { conflict: 718, permanentOnly: 725 } as const;
const portTries = 3;

export interface PortmapCounters {
  requestsSent: number;
  malformed: number;
  refused: number;
  reserved: number;
  restarts: number;
}

export interface Question {
  readonly gateway: Gateway;
  readonly wish: MapWish;
  readonly counters: PortmapCounters;
  readonly randomPort: () => number;
  /** Of UPnP: where actions went before. */
  readonly control: Control | undefined;
}

export interface Mapped {
  readonly address: string;
  readonly port: number;
  readonly lifetimeSeconds: number;
  /** undefined: the protocol has none. */
  readonly epochSeconds: number | undefined;
  readonly control?: Control;
}

/** Words for an operator, where nothing was mapped. */
export type Failed = string;

export async function askGateway(
  protocol: PortmapProtocol,
  question: Question,
): Promise<Mapped | Failed> {
  switch (protocol) {
    case "pcp":
      return await askPcp(question);
    case "nat-pmp":
      return await askPmp(question);
    case "upnp":
      return await askUpnp(question);
  }
}

/** The mapping is to go. Nothing is waited for but that it is sent, or for UPnP its answer. */
export async function release(protocol: PortmapProtocol, question: Question): Promise<void> {
  const { gateway, wish } = question;
  const last = { ...wish, lifetimeSeconds: 0 };
  if (protocol === "upnp") {
    const control = question.control ?? (await findControl(question));
    if (typeof control === "string") return;
    await perform(question, control, "DeletePortMapping", [
      ["NewRemoteHost", ""],
      ["NewExternalPort", wish.externalPort],
      ["NewProtocol", "UDP"],
    ]);
    return;
  }
  const bytes = protocol === "pcp" ? encodePcpMap(last) : encodePmpMap(last);
  await exchange(gateway, bytes, question.counters, () => true);
}

async function askPcp({ counters, gateway, wish }: Question): Promise<Mapped | Failed> {
  const answer = await exchange(gateway, encodePcpMap(wish), counters, (bytes) =>
    decodePcpMap(bytes, wish),
  );
  if (answer === undefined) return "no answer";
  if (answer.kind === "refused") return refusal(answer, counters);
  const { externalAddress: address, externalPort: port } = answer;
  return address === undefined ? "no external address" : { ...answer, address, port };
}

async function askPmp({ counters, gateway, wish }: Question): Promise<Mapped | Failed> {
  const outside = await exchange(gateway, encodePmpAddress(), counters, decodePmpAddress);
  if (outside === undefined) return "no answer";
  if ("kind" in outside) return refusal(outside, counters);
  const answer = await exchange(gateway, encodePmpMap(wish), counters, (bytes) =>
    decodePmpMap(bytes, wish),
  );
  if (answer === undefined) return "no answer";
  if (answer.kind === "refused") return refusal(answer, counters);
  return { ...answer, address: outside.address, port: answer.externalPort };
}

function refusal(
  { code, unsupported }: MapAnswer & { kind: "refused" },
  counters: PortmapCounters,
): Failed {
  counters.refused += 1;
  return unsupported ? "not supported" : `refused with ${code}`;
}

/** Sent until something that can be read comes from the gateway, four times over 3 s. */
async function exchange<Answer>(
  { address, local }: Gateway,
  bytes: Uint8Array,
  counters: PortmapCounters,
  read: (bytes: Uint8Array) => Answer | undefined,
): Promise<Answer | undefined> {
  const came = Promise.withResolvers<Answer | undefined>();
  let answers = 0;
  const socket = await Bun.udpSocket({
    hostname: local,
    connect: { hostname: address, port: pcpPort },
    socket: {
      data: (_, datagram) => {
        answers += 1;
        if (answers > answersMax) return;
        const answer = read(datagram);
        if (answer === undefined) counters.malformed += 1;
        else came.resolve(answer);
      },
      // Nobody listens there.
      error: () => came.resolve(undefined),
    },
  });
  try {
    for (const wait of waitsMs) {
      counters.requestsSent += 1;
      socket.send(bytes);
      const answer = await Promise.race([came.promise.then((value) => [value]), Bun.sleep(wait)]);
      if (answer !== undefined) return answer[0];
    }
    return undefined;
  } finally {
    socket.close();
  }
}

async function askUpnp(question: Question): Promise<Mapped | Failed> {
  const again = question.control === undefined ? "" : await askAt(question, question.control);
  if (typeof again !== "string") return again;
  const control = await findControl(question);
  return typeof control === "string" ? control : await askAt(question, control);
}

async function askAt(question: Question, control: Control): Promise<Mapped | Failed> {
  const { wish } = question;
  const outside = await perform(question, control, "GetExternalIPAddress");
  const address = outside.ok ? externalAddressOf(outside.body) : undefined;
  if (address === undefined) return "no external address";
  let port = wish.externalPort;
  let lease = wish.lifetimeSeconds;
  for (let tries = 0; tries < portTries; tries += 1) {
    const any = control.service.endsWith("WANIPConnection:2");
    const answer = await perform(question, control, any ? "AddAnyPortMapping" : "AddPortMapping", [
      ["NewRemoteHost", ""],
      ["NewExternalPort", port],
      ["NewProtocol", "UDP"],
      ["NewInternalPort", wish.internalPort],
      ["NewInternalClient", wish.client],
      ["NewEnabled", 1],
      ["NewPortMappingDescription", "meshvpn"],
      ["NewLeaseDuration", lease],
    ]);
    if (answer.ok) {
      const given = any ? (reservedPortOf(answer.body) ?? port) : port;
      const { lifetimeSeconds } = wish;
      return { address, port: given, lifetimeSeconds, epochSeconds: undefined, control };
    }
    if (answer.error === errors.permanentOnly) lease = 0;
    else if (answer.error === errors.conflict) port = question.randomPort();
    else {
      question.counters.refused += 1;
      return answer.error === undefined ? "no answer" : `refused with ${answer.error}`;
    }
  }
  question.counters.refused += 1;
  return "every port is taken";
}

/** Search and description; the answer of somebody else is dropped. */
async function findControl({ counters, gateway }: Question): Promise<Control | Failed> {
  const location = await search(gateway, counters);
  if (location === undefined) return "no answer";
  counters.requestsSent += 1;
  const answer = await askHttp({
    method: "GET",
    url: location,
    local: gateway.local,
    bytesMax: upnpBodyBytesMax,
    ms: httpMs,
  });
  if (answer === undefined || answer.status !== 200) {
    counters.malformed += 1;
    return "no description";
  }
  const control = controlOf(answer.body, location, gateway.address);
  if (control !== undefined) return control;
  counters.malformed += 1;
  return "no service of that kind";
}

/** By the group, for that is where many listen, and at the gateway itself. */
async function search(
  { address, local }: Gateway,
  counters: PortmapCounters,
): Promise<string | undefined> {
  const came = Promise.withResolvers<string | undefined>();
  let answers = 0;
  const socket = await Bun.udpSocket({
    hostname: local,
    socket: {
      data: (_, datagram, _port, from) => {
        answers += 1;
        if (answers > answersMax || from !== address) return;
        const location = locationOf(datagram, address);
        if (location === undefined) counters.malformed += 1;
        else came.resolve(location);
      },
      error: () => came.resolve(undefined),
    },
  });
  try {
    for (const wait of [searchMs / 4, (searchMs * 3) / 4]) {
      for (const bytes of searches()) {
        counters.requestsSent += 1;
        socket.send(bytes, ssdpPort, address);
        socket.send(bytes, ssdpPort, ssdpGroup);
      }
      const found = await Promise.race([came.promise.then((value) => [value]), Bun.sleep(wait)]);
      if (found !== undefined) return found[0];
    }
    return undefined;
  } finally {
    socket.close();
  }
}

type Performed =
  | { readonly ok: true; readonly body: string }
  | { readonly ok: false; readonly error: number | undefined };

async function perform(
  { counters, gateway }: Question,
  { service, url }: Control,
  name: string,
  values: readonly (readonly [string, string | number])[] = [],
): Promise<Performed> {
  const { body, headers } = action(service, name, values);
  counters.requestsSent += 1;
  const answer = await askHttp({
    method: "POST",
    url,
    local: gateway.local,
    headers,
    body,
    bytesMax: upnpBodyBytesMax,
    ms: httpMs,
  });
  if (answer?.status === 200) return { ok: true, body: answer.body };
  if (answer === undefined) counters.malformed += 1;
  return { ok: false, error: answer === undefined ? undefined : errorOf(answer.body) };
}
