/**
 * A member that floods: `meshvpn up` in all but this, that what gossip it sends is sent again and
 * again, RATE times a second, to everybody. Its first argument is RATE; the rest are those of `up`.
 * It begins when SIGUSR1 comes.
 */
import type { Transmit } from "../../../src/mesh/dataplane.ts";
import { NativeDataplane } from "../../../src/native/dataplane.ts";

const everyMs = 10;
/** Of its own messages, the newest; all kinds among them. */
const keptMax = 64;

const [rate = "0", ...words] = process.argv.slice(2);
const honest = NativeDataplane.prototype.send;
const kept: Transmit[] = [];
let plane: NativeDataplane | undefined;

NativeDataplane.prototype.send = function (this: NativeDataplane, transmits) {
  plane = this;
  for (const transmit of transmits) {
    if (transmit.kind !== "session_message") continue;
    kept.push({ ...transmit, bytes: transmit.bytes.slice() });
    if (kept.length > keptMax) kept.shift();
  }
  return honest.call(this, transmits);
};

let sent = 0;
process.on("SIGUSR1", () => {
  const start = performance.now();
  setInterval(() => {
    const due = ((performance.now() - start) / 1000) * Number(rate);
    const batch: Transmit[] = [];
    while (sent < due && batch.length < 1000 && kept.length > 0) {
      batch.push(kept[sent % kept.length] as Transmit);
      sent += 1;
    }
    if (plane !== undefined && batch.length > 0) honest.call(plane, batch);
  }, everyMs);
});

process.argv.splice(2, process.argv.length, "up", ...words);
await import("../../../src/cli/main.ts");
