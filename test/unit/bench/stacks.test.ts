import { expect, test } from "bun:test";
import { inSource, samples } from "../../../bench/stacks.ts";

const script = `bun.exe 1
	           d3250 rx.Rx.acceptAll (/x/libmeshvpn.so)
	           d86bf entry (/x/libmeshvpn.so)

bun.exe 1
	           d3260 rx.Rx.acceptAll (/x/libmeshvpn.so)
	           d86bf entry (/x/libmeshvpn.so)

bun.exe 1
	           d3250 something (/x/bun.exe)
`;

/** As addr2line -i -a prints: an address, then where it is, the innermost first. */
const places = `0x00000000000d3250
/y/policy.zig/zig/policy.zig:120
/y/policy.zig/zig/rx.zig:528
0x00000000000d3260
/y/policy.zig/zig/rx.zig:530
0x00000000000d86bf
/y/policy.zig/zig/device.zig:1
`;

test("a function that was inlined counts for its own file, in the library alone", () => {
  expect(inSource(samples(script), places, "policy.zig")).toBe(1);
  expect(inSource(samples(script), places, "rx.zig")).toBe(2);
  expect(inSource(samples(script), places, "tx.zig")).toBe(0);
});
