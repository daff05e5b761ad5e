import { describe, expect, test } from "bun:test";
import type { NetworkInterfaceInfo } from "node:os";
import { formatEndpoint } from "../../../src/base/endpoint.ts";
import { type Interfaces, ownCandidates } from "../../../src/daemon/endpoints.ts";

function infos(...addresses: string[]): NetworkInterfaceInfo[] {
  return addresses.map((address) => {
    const internal = address === "127.0.0.1" || address === "::1";
    const rest = { netmask: "", mac: "", internal, cidr: null };
    return address.includes(":")
      ? { address, family: "IPv6", scopeid: 0, ...rest }
      : { address, family: "IPv4", ...rest };
  });
}

const interfaces: Interfaces = {
  lo: infos("127.0.0.1", "::1"),
  eth0: infos("192.0.2.1", "2001:db8::1", "fe80::1"),
  meshvpn0: infos("10.99.0.7", "fd00::7"),
};

function texts(...given: Parameters<typeof ownCandidates>): string[] {
  return ownCandidates(...given).map(formatEndpoint);
}

describe("a node's own endpoints", () => {
  test("are its interfaces' addresses, without loopback, link-local and its own tunnel", () => {
    expect(texts(interfaces, "meshvpn0", 9, [])).toEqual(["192.0.2.1:9", "[2001:db8::1]:9"]);
  });

  test("start with what is announced, each once", () => {
    const announce = [{ address: "198.51.100.1", port: 7 }, { address: "192.0.2.1" }];
    expect(texts(interfaces, "meshvpn0", 9, announce)).toEqual([
      "198.51.100.1:7",
      "192.0.2.1:9",
      "[2001:db8::1]:9",
    ]);
  });

  test("are at most eight", () => {
    const many = Array.from({ length: 20 }, (_, at) => `192.0.2.${at + 1}`);
    expect(texts({ eth0: infos(...many) }, undefined, 9, [])).toHaveLength(8);
  });
});
