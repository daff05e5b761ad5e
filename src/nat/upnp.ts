/**
 * UPnP's Internet Gateway Device, as far as forwarding a UDP port takes: the search (SSDP), the
 * description, and the actions of WANIPConnection (SOAP). Owns their texts and limits. Everything a
 * gateway says is hostile: only URLs at its own address are followed, and of XML only the few tags
 * that are looked for are read, without entities, within bounds. Pure.
 */
import { assert } from "../base/errors.ts";
import { canonicalAddress } from "../base/ip.ts";

export const ssdpPort = 1_900;
export const ssdpGroup = "239.255.255.250";
export const ssdpAnswerBytesMax = 2_048;
export const upnpBodyBytesMax = 64 * 1_024;

const targets = [
  "urn:schemas-upnp-org:device:InternetGatewayDevice:2",
  "urn:schemas-upnp-org:device:InternetGatewayDevice:1",
] as const;
const services = [
  "urn:schemas-upnp-org:service:WANIPConnection:2",
  "urn:schemas-upnp-org:service:WANIPConnection:1",
  "urn:schemas-upnp-org:service:WANPPPConnection:1",
] as const;
const urlCharactersMax = 256;
const servicesMax = 64;
/** What stands before a tag's name: the bracket and a prefix. */
const openMark = /<([A-Za-z0-9_.-]{1,32}:)?$/;
const closeMark = /<\/([A-Za-z0-9_.-]{1,32}:)?$/;
const markCharactersMax = 36;

export type UpnpService = (typeof services)[number];

/** One for each kind of gateway. */
export function searches(): readonly Uint8Array[] {
  return targets.map((target) =>
    new TextEncoder().encode(
      [
        "M-SEARCH * HTTP/1.1",
        `HOST: ${ssdpGroup}:${ssdpPort}`,
        'MAN: "ssdp:discover"',
        "MX: 1",
        `ST: ${target}`,
        "",
        "",
      ].join("\r\n"),
    ),
  );
}

/** Where the description is; undefined: it is no answer of a gateway at that address. */
export function locationOf(answer: Uint8Array, gateway: string): string | undefined {
  if (answer.length > ssdpAnswerBytesMax) return undefined;
  const lines = new TextDecoder("latin1").decode(answer).split("\r\n");
  if (!/^HTTP\/1\.[01] 200( |$)/.test(lines[0] ?? "")) return undefined;
  const header = (name: string): string | undefined =>
    lines
      .find((line) => line.slice(0, name.length + 1).toLowerCase() === `${name}:`)
      ?.slice(name.length + 1)
      .trim();
  if (!targets.some((target) => target === header("st"))) return undefined;
  return ownUrl(header("location") ?? "", undefined, gateway);
}

export interface Control {
  readonly service: UpnpService;
  readonly url: string;
}

/** Where its service takes actions; undefined where it has none, or has it elsewhere. */
export function controlOf(
  description: string,
  location: string,
  gateway: string,
): Control | undefined {
  const found = elements(description, "service", servicesMax);
  for (const service of services) {
    const element = found.find((each) => textOf(each, "serviceType") === service);
    const path = element === undefined ? undefined : textOf(element, "controlURL");
    const base = textOf(description, "URLBase") ?? location;
    const url = path === undefined ? undefined : ownUrl(path, base, gateway);
    if (url !== undefined) return { service, url };
  }
  return undefined;
}

export interface Action {
  readonly body: string;
  readonly headers: Readonly<Record<string, string>>;
}

/** Values are numbers and addresses, or words of our own: nothing in them needs escaping. */
export function action(
  service: UpnpService,
  name: string,
  values: readonly (readonly [string, string | number])[] = [],
): Action {
  for (const [, value] of values) assert(/^[A-Za-z0-9.: -]*$/.test(`${value}`), "a plain value");
  const inner = values.map(([tag, value]) => `<${tag}>${value}</${tag}>`).join("");
  const body = [
    '<?xml version="1.0"?>\r\n',
    '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" ',
    's:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body>',
    `<u:${name} xmlns:u="${service}">${inner}</u:${name}>`,
    "</s:Body></s:Envelope>\r\n",
  ].join("");
  const headers = {
    "content-type": 'text/xml; charset="utf-8"',
    soapaction: `"${service}#${name}"`,
  };
  return { body, headers };
}

/** The error's number in what answers an action with status 500; undefined: it is none. */
export function errorOf(body: string): number | undefined {
  const text = textOf(body, "errorCode");
  return text !== undefined && /^[0-9]{3}$/.test(text) ? Number(text) : undefined;
}

/** The external address, canonical. */
export function externalAddressOf(body: string): string | undefined {
  return canonicalAddress(textOf(body, "NewExternalIPAddress") ?? "");
}

/** Of the answer to AddAnyPortMapping. */
export function reservedPortOf(body: string): number | undefined {
  const text = textOf(body, "NewReservedPort") ?? "";
  const port = /^[0-9]{1,5}$/.test(text) ? Number(text) : 0;
  return port >= 1 && port <= 65_535 ? port : undefined;
}

/** Plain HTTP at the gateway's own address; its port and path are its to choose. */
function ownUrl(text: string, base: string | undefined, gateway: string): string | undefined {
  if (text === "" || text.length > urlCharactersMax || !URL.canParse(text, base)) return undefined;
  const url = new URL(text, base);
  const host = url.hostname.replace(/^\[(.*)\]$/, "$1");
  if (url.protocol !== "http:" || url.username !== "" || url.password !== "") return undefined;
  return canonicalAddress(host) === gateway ? url.href : undefined;
}

/** The text inside the first `<tag>` (with any prefix, without attributes), trimmed. */
function textOf(xml: string, tag: string): string | undefined {
  const inner = elements(xml, tag, 1)[0];
  return inner === undefined || inner.includes("<") ? undefined : inner.trim();
}

/** What is between `<tag ...>` and `</tag>`, in order; such tags do not hold each other. */
function elements(xml: string, tag: string, max: number): readonly string[] {
  const found: string[] = [];
  let at = 0;
  while (found.length < max) {
    const open = nextTag(xml, tag, at, "<");
    if (open === undefined) break;
    const close = nextTag(xml, tag, open.end, "</");
    if (close === undefined) break;
    found.push(xml.slice(open.end, close.start));
    at = close.end;
  }
  return found;
}

/** Looks back over a short stretch only, so that no text takes more than one pass for each find. */
function nextTag(
  xml: string,
  tag: string,
  from: number,
  mark: "<" | "</",
): { readonly start: number; readonly end: number } | undefined {
  const pattern = mark === "<" ? openMark : closeMark;
  for (let at = xml.indexOf(tag, from); at >= 0; at = xml.indexOf(tag, at + tag.length)) {
    const after = xml[at + tag.length];
    if (after !== ">" && after !== " ") continue;
    const before = xml.slice(Math.max(from, at - markCharactersMax), at);
    const found = pattern.exec(before);
    if (found === null) continue;
    const end = xml.indexOf(">", at);
    return end < 0 ? undefined : { start: at - found[0].length, end: end + 1 };
  }
  return undefined;
}
