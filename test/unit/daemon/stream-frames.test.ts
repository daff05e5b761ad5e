import { expect, test } from "bun:test";
import {
  FrameReader,
  FrameWriter,
  streamQueueBytesMax,
} from "../../../src/daemon/stream-frames.ts";
import { loopbackOf, parseTcpTarget } from "../../../src/daemon/tcp.ts";
import { parseTcpSeed } from "../../../src/daemon/tcp-fallback.ts";
import { SeededRandom } from "../../support/seeded-random.ts";

test("datagrams come out whole and in order, however the stream is cut", () => {
  const random = new SeededRandom(9);
  const sent = Array.from({ length: 300 }, () => random.bytes(1 + random.below(2_000)));
  const written: Uint8Array[] = [];
  const writer = new FrameWriter((bytes) => {
    // Takes a part now and then, as a full socket does.
    const taken = random.chance(0.3) ? random.below(bytes.length) : bytes.length;
    written.push(bytes.slice(0, taken));
    return taken;
  });
  for (const datagram of sent) {
    writer.push(datagram);
    writer.flush();
  }
  for (let round = 0; round < 1_000; round += 1) writer.flush();
  const stream = new Uint8Array(Buffer.concat(written));
  const reader = new FrameReader();
  const got: Uint8Array[] = [];
  for (let at = 0; at < stream.length; ) {
    const size = 1 + random.below(700);
    got.push(...(reader.push(stream.slice(at, at + size)) ?? []));
    at += size;
  }
  expect(got).toEqual(sent);
});

test("a length of zero is a stream that makes no sense", () => {
  expect(new FrameReader().push(new Uint8Array([0, 0, 1]))).toBeUndefined();
});

test("what waits for a slow stream is bounded, and the rest dropped and counted", () => {
  const writer = new FrameWriter(() => 0);
  for (let i = 0; i < 1_000; i += 1) writer.push(new Uint8Array(1_400));
  expect(writer.dropped).toBeGreaterThan(1_000 - streamQueueBytesMax / 1_400 - 2);
  writer.push(new Uint8Array(0));
  expect(writer.dropped).toBeGreaterThan(600);
});

test("targets are read, and what is none is refused", () => {
  expect(parseTcpTarget("a.example:443")).toEqual({ tls: false, host: "a.example", port: 443 });
  expect(parseTcpTarget("tls://[2001:db8::1]:1")).toEqual({
    tls: true,
    host: "2001:db8::1",
    port: 1,
  });
  for (const text of ["", "a", "a:0", "a:65536", "http://a:1", "a b:1", "2001:db8::1:1"]) {
    expect(parseTcpTarget(text)).toBeUndefined();
  }
  expect(parseTcpSeed("nokey@a:1")).toBeUndefined();
  expect(parseTcpSeed("a:1")).toEqual({ target: { tls: false, host: "a", port: 1 } });
});

test("each remote address has a loopback address, none of them 127.0.0.1", () => {
  const all = Array.from({ length: 5_000 }, (_, at) => loopbackOf(`192.0.${at >> 8}.${at & 255}`));
  for (const address of all)
    expect(address).toMatch(/^127\.(6[4-9]|[7-9]\d|1[01]\d|12[0-7])\.\d+\.[1-9]\d*$/);
  expect(new Set(all).size).toBeGreaterThan(4_900);
});
