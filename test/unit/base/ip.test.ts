import { expect, test } from "bun:test";
import { formatEndpoint } from "../../../src/base/endpoint.ts";
import {
  canonicalAddress,
  formatAddress,
  formatPrefix,
  fromMapped,
  parseAddress,
  parseEndpoint,
  parseInterfaceAddress,
  parsePrefix,
  prefixContains,
  toMapped,
} from "../../../src/base/ip.ts";

// RFC 5952 sections 4 and 5, RFC 4291 section 2.2.
const canonical: readonly (readonly [string, string])[] = [
  ["192.0.2.1", "192.0.2.1"],
  ["0.0.0.0", "0.0.0.0"],
  ["255.255.255.255", "255.255.255.255"],
  ["::", "::"],
  ["::1", "::1"],
  ["1::", "1::"],
  ["0:0:0:0:0:0:0:0", "::"],
  ["2001:0DB8::0001", "2001:db8::1"],
  ["2001:db8:0:0:0:0:2:1", "2001:db8::2:1"],
  ["2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
  ["2001:db8::1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
  ["2001:0:0:1:0:0:0:1", "2001:0:0:1::1"],
  ["2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"],
  ["1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"],
  ["::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"],
  ["::ffff:c000:201", "::ffff:192.0.2.1"],
  ["::FFFF:192.0.2.1", "::ffff:192.0.2.1"],
  ["64:ff9b::192.0.2.33", "64:ff9b::c000:221"],
  ["fe80::1%5", "fe80::1%5"],
];

test("every standard form of an address has one canonical text", () => {
  for (const [given, expected] of canonical) {
    expect(canonicalAddress(given)).toBe(expected);
    expect(canonicalAddress(expected)).toBe(expected);
  }
});

test("what is not an address is undefined", () => {
  const bad = [
    "",
    "1",
    "1.2.3",
    "1.2.3.4.5",
    "256.0.0.1",
    "01.2.3.4",
    "1.2.3.4 ",
    "0x1.2.3.4",
    "1.2.3.-4",
    ":",
    ":::",
    "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:8:9",
    "1::2::3",
    "1:2:3:4:5:6:7:8::",
    "12345::",
    "g::",
    "::1.2.3",
    "1.2.3.4::",
    "::1.2.3.4:5",
    "1:2:3:4:5:6:7:1.2.3.4",
    "1:::2",
    "fe80::1%",
    "fe80::1%0",
    "fe80::1%eth0",
    "fe80::1%4294967296",
    "fe80::1%05",
    "%5",
    "1.2.3.4%5",
    "1:",
    "::1/64",
    "[::1]",
    `${"0".repeat(200)}::`,
  ];
  for (const text of bad) expect([text, canonicalAddress(text)]).toEqual([text, undefined]);
});

test("a zone's name is resolved by whoever knows the interfaces", () => {
  const scopeOf = (name: string): number | undefined => (name === "eth0" ? 7 : undefined);
  expect(canonicalAddress("fe80::1%eth0", scopeOf)).toBe("fe80::1%7");
  expect(canonicalAddress("fe80::1%eth1", scopeOf)).toBeUndefined();
});

test("random addresses survive text and back, and agree with the platform's canonical form", () => {
  let state = 1;
  const next = (): number => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return state >>> 16;
  };
  for (let i = 0; i < 2000; i += 1) {
    const bytes = Uint8Array.from({ length: 16 }, () => (next() % 3 === 0 ? next() & 255 : 0));
    if (bytes.subarray(0, 10).every((b) => b === 0)) continue; // the platform has no mixed form
    const text = formatAddress({ family: 6, bytes, scope: 0 });
    expect(parseAddress(text)?.bytes).toEqual(bytes);
    expect(new URL(`http://[${text}]/`).hostname).toBe(`[${text}]`);
  }
});

test("IPv4 travels as IPv4-mapped IPv6 and comes back as IPv4", () => {
  const four = parseAddress("192.0.2.1");
  expect(four).toBeDefined();
  if (four === undefined) return;
  const mapped = toMapped(four);
  expect(formatAddress({ family: 6, bytes: mapped, scope: 0 })).toBe("::ffff:192.0.2.1");
  expect(fromMapped(mapped)).toEqual(four);
  const six = fromMapped(
    Uint8Array.from({ length: 16 }, (_, i) => i + 1),
    9,
  );
  expect(formatAddress(six)).toBe("102:304:506:708:90a:b0c:d0e:f10%9");
});

test("a prefix loses its host bits and an interface's address keeps them", () => {
  const rows = [
    ["192.0.2.77/24", "192.0.2.0/24", "192.0.2.77/24"],
    ["192.0.2.77", "192.0.2.77/32", "192.0.2.77/32"],
    ["255.255.255.255/1", "128.0.0.0/1", "255.255.255.255/1"],
    ["10.1.2.3/0", "0.0.0.0/0", "10.1.2.3/0"],
    ["2001:db8:ffff::1/33", "2001:db8:8000::/33", "2001:db8:ffff::1/33"],
    ["2001:db8::1", "2001:db8::1/128", "2001:db8::1/128"],
    ["::1/0", "::/0", "::1/0"],
  ] as const;
  for (const [given, masked, kept] of rows) {
    const prefix = parsePrefix(given);
    const address = parseInterfaceAddress(given);
    expect(prefix && formatPrefix(prefix)).toBe(masked);
    expect(address && formatPrefix(address)).toBe(kept);
  }
  const bad = [
    "",
    "/24",
    "1.2.3.4/",
    "1.2.3.4/33",
    "::/129",
    "1.2.3.4/024",
    "1.2.3.4/-1",
    "::%5/64",
  ];
  for (const text of [...bad, "1.2.3.4/1/2", "1.2.3.4/ 8"])
    expect(parsePrefix(text)).toBeUndefined();
});

test("a prefix contains the addresses of its own family only", () => {
  const four = { address: "10.0.0.0", bits: 8 };
  expect(prefixContains(four, "10.255.0.1")).toBe(true);
  expect(prefixContains(four, "11.0.0.1")).toBe(false);
  expect(prefixContains({ address: "::", bits: 0 }, "10.0.0.1")).toBe(false);
  expect(prefixContains({ address: "fe80::", bits: 10 }, "fe80::1%5")).toBe(true);
});

test("an endpoint is an address and a port, in brackets where it is IPv6", () => {
  const rows = [
    ["192.0.2.1:1", "192.0.2.1:1"],
    ["[2001:DB8::1]:65535", "[2001:db8::1]:65535"],
    ["[fe80::1%5]:51820", "[fe80::1%5]:51820"],
    ["[::ffff:192.0.2.1]:51820", "192.0.2.1:51820"],
  ] as const;
  for (const [given, expected] of rows) {
    const endpoint = parseEndpoint(given);
    expect(endpoint && formatEndpoint(endpoint)).toBe(expected);
  }
  const bad = ["", "1.2.3.4", "1.2.3.4:0", "1.2.3.4:65536", "::1:5", "[1.2.3.4]:5", "[::1]", "a:5"];
  for (const text of [...bad, "[::1]:", "1.2.3.4:5x"]) expect(parseEndpoint(text)).toBeUndefined();
});
