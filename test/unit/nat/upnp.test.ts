import { describe, expect, test } from "bun:test";
import {
  action,
  controlOf,
  errorOf,
  externalAddressOf,
  locationOf,
  reservedPortOf,
} from "../../../src/nat/upnp.ts";
import { SeededRandom } from "../../support/seeded-random.ts";

const gateway = "192.168.1.1";
const location = `http://${gateway}:5000/root.xml`;
const device = "urn:schemas-upnp-org:device:InternetGatewayDevice:1";
const wanIp = "urn:schemas-upnp-org:service:WANIPConnection:1";

function search(...lines: string[]): Uint8Array {
  return new TextEncoder().encode(["HTTP/1.1 200 OK", ...lines, "", ""].join("\r\n"));
}

describe("the answer to a search", () => {
  test("says where the gateway describes itself, in any case and order", () => {
    const answer = search(`st: ${device}`, "EXT:", `Location:  ${location}`);
    expect(locationOf(answer, gateway)).toBe(location);
  });

  const refused = [
    ["of another device", search("ST: upnp:rootdevice", `LOCATION: ${location}`)],
    ["elsewhere", search(`ST: ${device}`, "LOCATION: http://192.168.1.9:5000/root.xml")],
    ["by a name", search(`ST: ${device}`, "LOCATION: http://router.lan/root.xml")],
    ["with a user", search(`ST: ${device}`, `LOCATION: http://a@${gateway}/root.xml`)],
    ["over TLS", search(`ST: ${device}`, `LOCATION: https://${gateway}/root.xml`)],
    ["in a file", search(`ST: ${device}`, "LOCATION: file:///etc/passwd")],
    ["too long", search(`ST: ${device}`, `LOCATION: ${location}${"a".repeat(300)}`)],
    ["without a place", search(`ST: ${device}`)],
    ["of thousands of bytes", search(`ST: ${device}`, `X: ${"x".repeat(3_000)}`)],
  ] as const;
  for (const [what, answer] of refused) {
    test(`is none ${what}`, () => expect(locationOf(answer, gateway)).toBeUndefined());
  }
});

function described(service: string, control: string, more = ""): string {
  return `<?xml version="1.0"?><root xmlns="x">${more}<device><serviceList>
    <service><serviceType>urn:other</serviceType><controlURL>/wrong</controlURL></service>
    <service><serviceType>${service}</serviceType><SCPDURL>/s</SCPDURL><controlURL> ${control} </controlURL></service>
    </serviceList></device></root>`;
}

describe("a description", () => {
  test("names the service's URL, absolute or not, and with a base", () => {
    const found = { service: wanIp, url: `http://${gateway}:5000/ctl` };
    expect(controlOf(described(wanIp, "/ctl"), location, gateway)).toEqual(found as never);
    expect(controlOf(described(wanIp, "ctl"), location, gateway)).toEqual(found as never);
    const base = `<URLBase>http://${gateway}:80/</URLBase>`;
    const based = controlOf(described(wanIp, "/ctl", base), location, gateway);
    expect(based?.url).toBe(`http://${gateway}/ctl`);
  });

  const refused = [
    ["elsewhere", described(wanIp, "http://203.0.113.1/ctl")],
    ["elsewhere by its base", described(wanIp, "/c", "<URLBase>http://203.0.113.1/</URLBase>")],
    ["of another kind", described("urn:schemas-upnp-org:service:Printer:1", "/ctl")],
    ["without an end", `<service>`.repeat(7_000)],
    ["empty", ""],
  ] as const;
  for (const [what, text] of refused) {
    test(`is of no use ${what}`, () => {
      expect(controlOf(text, location, gateway)).toBeUndefined();
    });
  }

  test("takes little time, whatever it is made of", () => {
    const pieces = ["service>", "<service>", "</service>", "<", "serviceType>", " ", "x:service>"];
    const random = new SeededRandom(9);
    const start = performance.now();
    for (let round = 0; round < 40; round += 1) {
      let text = "";
      while (text.length < 65_000) {
        const piece = pieces[random.below(pieces.length)] as string;
        text += piece.repeat(1 + random.below(round === 0 ? 4 : 3_000));
      }
      controlOf(text.slice(0, 65_536), location, gateway);
    }
    expect((performance.now() - start) / 40).toBeLessThan(100);
  });
});

test("no URL but the gateway's own is ever followed", () => {
  const elsewhere = [
    ...["http://203.0.113.1/c", "//203.0.113.1/c", "http:\\\\203.0.113.1", "\\\\203.0.113.1/c"],
    ...[`http://${gateway}@203.0.113.1/`, `http://203.0.113.1#@${gateway}/`, "http://3405803777/"],
    ...[`http://${gateway}.example.org/`, "javascript:1", "ftp://192.168.1.1/", "http://[::1]/c"],
  ];
  for (const url of elsewhere) {
    expect(controlOf(described(wanIp, url), location, gateway), url).toBeUndefined();
    expect(locationOf(search(`ST: ${device}`, `LOCATION: ${url}`), gateway), url).toBeUndefined();
  }
  // What would split a request is written otherwise by then.
  const split = controlOf(described(wanIp, "/c\r\nHost: x\r\n\r\nGET /y"), location, gateway);
  expect(split?.url ?? "").not.toMatch(/[\r\n ]/);
});

test("actions are written and their answers read", () => {
  const { body, headers } = action(wanIp, "DeletePortMapping", [["NewExternalPort", 51_820]]);
  expect(headers.soapaction).toBe(`"${wanIp}#DeletePortMapping"`);
  expect(body).toContain("<NewExternalPort>51820</NewExternalPort></u:DeletePortMapping>");
  expect(() => action(wanIp, "X", [["NewInternalClient", "1.2.3.4</x>"]])).toThrow();
  const address = "<a:b><NewExternalIPAddress>192.0.2.9</NewExternalIPAddress></a:b>";
  expect(externalAddressOf(address)).toBe("192.0.2.9");
  expect(externalAddressOf("<NewExternalIPAddress>&x;</NewExternalIPAddress>")).toBeUndefined();
  expect(reservedPortOf("<NewReservedPort>40001</NewReservedPort>")).toBe(40_001);
  expect(reservedPortOf("<NewReservedPort>70000</NewReservedPort>")).toBeUndefined();
  expect(errorOf("<errorCode>718</errorCode>")).toBe(718);
  expect(errorOf("<errorCode>what</errorCode>")).toBeUndefined();
});
