import { describe, expect, test } from "bun:test";
import type { NetworkInterfaceInfo } from "node:os";
import { defaultGateway } from "../../../src/daemon/gateway.ts";
import { parseAnswer } from "../../../src/daemon/http-ask.ts";

const head =
  "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";
const row = (name: string, gateway: string, metric: number, destination = "00000000"): string =>
  `${name}\t${destination}\t${gateway}\t0003\t0\t0\t${metric}\t${destination === "00000000" ? "00000000" : "00FFFFFF"}\t0\t0\t0\n`;

function v4(address: string, netmask: string): NetworkInterfaceInfo {
  const rest = { mac: "", internal: false, cidr: null } as const;
  return { address, netmask, family: "IPv4", ...rest };
}

const interfaces = {
  eth0: [v4("10.0.0.5", "255.255.255.0"), v4("192.168.1.2", "255.255.255.0")],
  wlan0: [v4("172.16.0.9", "255.240.0.0")],
};

describe("the default gateway", () => {
  test("is that of the route with the least metric, and the address in its network", () => {
    const routes = `${head}${row("wlan0", "010010AC", 600)}${row("eth0", "0101A8C0", 100)}`;
    expect(defaultGateway(routes, interfaces, undefined)).toEqual({
      address: "192.168.1.1",
      local: "192.168.1.2",
    });
    expect(defaultGateway(routes, interfaces, "eth0")?.address).toBe("172.16.0.1");
  });

  test("is nobody without such a route", () => {
    const routes = `${head}${row("eth0", "0101A8C0", 0, "0001A8C0")}`;
    expect(defaultGateway(routes, interfaces, undefined)).toBeUndefined();
    expect(defaultGateway(`${head}nonsense\n`, interfaces, undefined)).toBeUndefined();
  });
});

describe("an HTTP answer", () => {
  const read = (text: string) => parseAnswer(Buffer.from(text.replaceAll("\n", "\r\n")));

  test("in more chunks than are read is none, since each is read again with every piece", () => {
    const chunked = (count: number) =>
      read(`HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n${"1\nx\n".repeat(count)}0\n\n`);
    expect([chunked(256)?.body.length, chunked(257)]).toEqual([256, undefined]);
  });

  test("is read plain and in chunks", () => {
    expect(read("HTTP/1.0 200 OK\nA: b\n\nbody")).toEqual({ status: 200, body: "body" });
    const chunked = "HTTP/1.1 500 No\nTransfer-Encoding: chunked\n\n2\nbo\n2;x=y\ndy\n0\n\n";
    expect(read(chunked)).toEqual({ status: 500, body: "body" });
  });

  test("is none where it is cut off or no HTTP", () => {
    for (const text of ["", "HTTP/1.1 200 OK\n", "SSH-2.0-x\n\n", "HTTP/1.1 20 OK\n\n"]) {
      expect(read(text)).toBeUndefined();
    }
    expect(read("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\nzz\n")).toBeUndefined();
    expect(read("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\nffff\nx\n")).toBeUndefined();
  });
});
