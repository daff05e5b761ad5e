/**
 * What comes from outside of the mesh: answers of STUN servers, of gateways by their three protocols,
 * and of whoever is on the local network. Nothing may throw, and what is taken keeps its bounds: an
 * address is canonical, a URL is the gateway's own.
 */
import { concatBytes } from "../../src/base/bytes.ts";
import { canonicalAddress } from "../../src/base/ip.ts";
import { parseAnswer } from "../../src/daemon/http-ask.ts";
import { decodeMdns, encodeAnswer, encodeQuestion } from "../../src/daemon/mdns-message.ts";
import { decodePcpMap, decodePmpAddress, decodePmpMap, encodePcpMap } from "../../src/nat/pcp.ts";
import { decodeBindingAnswer } from "../../src/nat/stun.ts";
import { controlOf, externalAddressOf, locationOf } from "../../src/nat/upnp.ts";
import { answerBytes } from "../support/stun-answers.ts";
import { damaged, type FuzzTarget, rule, sentence, textOf } from "./target.ts";

const id = new Uint8Array(12);
const mapped = { address: "192.0.2.1", port: 9 };
const other = { address: "2001:db8::1", port: 3478 };

const stun: FuzzTarget = {
  name: "stun-answer",
  bytesMax: 1_400,
  generate(random) {
    const more = Array.from({ length: random.below(6) }, () => {
      const type = random.chance(0.5) ? 0x8000 + random.below(64) : random.below(64);
      return [type, [...random.bytes(random.below(24))]] as const;
    });
    const parts = {
      ...(random.chance(0.8) ? { mapped } : {}),
      ...(random.chance(0.3) ? { other } : {}),
      ...(random.chance(0.2) ? { error: 300 + random.below(400) } : {}),
    };
    return damaged(random, answerBytes(id, { ...parts, more, plain: random.chance(0.2) }));
  },
  one(input) {
    const answer = decodeBindingAnswer(input);
    if (answer === undefined) return "refused";
    for (const place of [answer.mapped, answer.other]) {
      if (place === undefined) continue;
      rule(canonicalAddress(place.address) === place.address, "no canonical address");
      rule(place.port >= 1 && place.port <= 65_535, "no port");
    }
    rule((answer.mapped === undefined) !== (answer.error === undefined), "neither or both");
    return `${answer.error ?? answer.mapped?.address.length} ${answer.other !== undefined}`;
  },
};

const wish = {
  client: "192.168.1.2",
  nonce: new Uint8Array(12).fill(7),
  internalPort: 51_820,
  externalPort: 51_820,
  lifetimeSeconds: 7_200,
};

const portMapping: FuzzTarget = {
  name: "port-mapping",
  bytesMax: 1_200,
  generate(random) {
    if (random.chance(0.3)) {
      const opcode = 128 + random.below(2);
      const size = opcode === 128 ? 10 : 14;
      const bytes = concatBytes(
        Uint8Array.of(0, opcode, 0, random.below(3)),
        random.bytes(size - 2),
      );
      bytes.set([0xca, 0x6c], 8);
      return damaged(random, bytes);
    }
    const bytes = encodePcpMap(wish);
    bytes[1] = 0x81;
    bytes[3] = random.below(3);
    bytes.set(random.bytes(16), 44);
    return damaged(random, bytes);
  },
  one(input) {
    const pcp = decodePcpMap(input, wish);
    const map = decodePmpMap(input, wish);
    const address = decodePmpAddress(input);
    for (const answer of [pcp, map]) {
      if (answer?.kind !== "mapped") continue;
      rule(answer.externalPort > 0 && answer.lifetimeSeconds > 0, "a mapping of nothing");
    }
    rule([pcp, map, address].filter((it) => it !== undefined).length <= 1, "two kinds at once");
    const kind = address === undefined ? "" : "kind" in address ? "refused" : "address";
    return [pcp?.kind, map?.kind, kind].join();
  },
};

const gateway = "192.168.1.1";
const upnpWords = [
  ...[
    "<service>",
    "</service>",
    "<serviceType>",
    "</serviceType>",
    "<controlURL>",
    "</controlURL>",
  ],
  ...[
    "urn:schemas-upnp-org:service:WANIPConnection:1",
    "/ctl",
    "http://192.168.1.1:5000/x",
    "&lt;",
  ],
  ...["http://203.0.113.1/", "<URLBase>", "</URLBase>", "<u:", ">", "<", "/", " ", "//evil/", "\\"],
  ...["HTTP/1.1 200 OK\r\n", "LOCATION: ", "ST: ", "\r\n", "\r\n\r\n", "http://", "@", "file:///"],
  ...["urn:schemas-upnp-org:device:InternetGatewayDevice:1", "<NewExternalIPAddress>", "192.0.2.1"],
  ...[
    "</NewExternalIPAddress>",
    "Transfer-Encoding: chunked",
    "Content-Length: 4",
    "4\r\nbody\r\n0",
  ],
];

const upnp: FuzzTarget = {
  name: "upnp",
  bytesMax: 2_000,
  generate(random) {
    const control = random.chance(0.5) ? "/ctl" : "http://192.168.1.1:80/c";
    const whole = `<service><serviceType>${upnpWords[6]}</serviceType><controlURL>${control}</controlURL></service>`;
    const answer = `HTTP/1.1 200 OK\r\nST: ${upnpWords[28]}\r\nLOCATION: http://192.168.1.1:5/r\r\n\r\n`;
    if (random.chance(0.4)) {
      return damaged(random, new TextEncoder().encode(random.chance(0.5) ? whole : answer));
    }
    return sentence(random, upnpWords, 24);
  },
  one(input) {
    const text = textOf(input);
    const location = locationOf(input, gateway);
    const control = controlOf(text, location ?? `http://${gateway}:5000/root.xml`, gateway);
    for (const url of [location, control?.url]) {
      if (url !== undefined) rule(new URL(url).hostname === gateway, "somebody else's URL");
    }
    const outside = externalAddressOf(text);
    rule(outside === undefined || canonicalAddress(outside) === outside, "no canonical address");
    const http = parseAnswer(Buffer.from(input));
    return [location, control, outside, http].map((it) => it !== undefined).join();
  },
};

const mdns: FuzzTarget = {
  name: "mdns",
  bytesMax: 1_500,
  // The library makes strings and objects of every record.
  timed: false,
  generate(random) {
    const key = Buffer.from(random.bytes(32)).toString("base64");
    const bytes = random.chance(0.7)
      ? encodeAnswer({ key, port: 1 + random.below(65_535) }, random.below(300))
      : encodeQuestion([`x._meshvpn._udp.local`]);
    return damaged(random, Uint8Array.from(bytes));
  },
  one(input) {
    const message = decodeMdns(input);
    if (message === undefined) return "refused";
    if (message.kind === "question") return `question ${message.known.length}`;
    for (const { identity, port, ttlSeconds } of message.found) {
      rule(identity.length === 32 && port >= 1 && port <= 65_535, "no place of a member");
      rule(ttlSeconds >= 0 && ttlSeconds <= 120, "a lifetime beyond the bound");
    }
    return `answer ${message.found.length}`;
  },
};

export const outsideTargets: readonly FuzzTarget[] = [stun, portMapping, upnp, mdns];
