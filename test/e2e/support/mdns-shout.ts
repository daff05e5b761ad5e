/** Shouts into a local network what a hostile neighbour may: `mdns-shout.ts ADDRESS KEY`. */
import { createSocket } from "node:dgram";
import { encodeAnswer, encodeQuestion } from "../../../src/daemon/mdns-message.ts";

const group = "224.0.0.251";
const port = 5_353;
const [address = "", key = ""] = process.argv.slice(2);

function socketAt(local: number): Promise<ReturnType<typeof createSocket>> {
  return new Promise((resolve) => {
    const socket = createSocket({ type: "udp4", reuseAddr: true });
    socket.bind(local, () => {
      socket.setMulticastInterface(address);
      resolve(socket);
    });
  });
}

const [proper, improper] = await Promise.all([socketAt(port), socketAt(0)]);
const shout = (socket: typeof proper, bytes: Uint8Array): Promise<void> =>
  new Promise((resolve) => socket.send(bytes, port, group, () => resolve()));

await shout(proper, encodeAnswer({ key, port: 51_820 }, 120));
// From another port it is no answer.
await shout(improper, encodeAnswer({ key, port: 9 }, 120));
for (let at = 0; at < 1_000; at += 1) {
  const stranger = Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString("base64");
  await shout(proper, encodeAnswer({ key: stranger, port: 51_820 }, 120));
  await shout(proper, crypto.getRandomValues(new Uint8Array(1 + (at % 1_400))));
  if (at % 10 === 0) await shout(proper, encodeQuestion([]));
  if (at % 50 === 0) await Bun.sleep(5);
}
console.log("done");
proper.close();
improper.close();
