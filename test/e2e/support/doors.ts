/** Ports that answer, and whether one node reaches another's. */
import type { Node } from "./mesh.ts";
import { until } from "./process.ts";
import type { Host } from "./stage.ts";

export type Kind = "tcp" | "udp" | "icmp";

/** Answers every line of TCP with it and the asker's address, and every datagram, on ports 7001 and 7002 of all addresses. */
const server = `
for (const port of [7001, 7002]) {
  Bun.listen({ hostname: "::", port, socket: { data(socket, bytes) { socket.write(bytes + " for " + socket.remoteAddress); } } });
  await Bun.udpSocket({ hostname: "::", port, socket: { data(socket, bytes, from, address) { socket.send(bytes, from, address); } } });
}
console.log("serving");`;

/** Exit code 0 where an answer comes in time, which it prints; on one machine that is milliseconds. */
const client = `
const [kind, host, port, ms] = process.argv.slice(1);
setTimeout(() => process.exit(1), Number(ms));
const answered = (_, bytes) => { console.log(String(bytes)); process.exit(0); };
if (kind === "tcp") {
  Bun.connect({ hostname: host, port: Number(port), socket: { open(socket) { socket.write("x"); }, data: answered } }).catch(() => process.exit(1));
} else {
  const socket = await Bun.udpSocket({ hostname: host.includes(":") ? "::" : "0.0.0.0", socket: { data: answered } });
  socket.send("x", Number(port), host);
}`;

const answerMs = 400;

/** Until the stage closes. */
export async function serve(host: Host): Promise<void> {
  const running = host.start([process.execPath, "-e", server]);
  await until(`the server in ${host.namespace}`, () => running.log().includes("serving"));
}

/** What came back; undefined: nothing in time. */
export async function knock(
  from: Host,
  kind: "tcp" | "udp",
  address: string,
  port: number,
  ms = answerMs,
): Promise<string | undefined> {
  const words = [kind, address, `${port}`, `${ms}`];
  const { code, stdout } = await from.run([process.execPath, "-e", client, ...words]);
  return code === 0 ? stdout.trim() : undefined;
}

export async function reaches(
  from: Node,
  to: Node,
  kind: Kind,
  family: 4 | 6,
  port = 0,
): Promise<boolean> {
  const address = await to.address(family);
  if (kind === "icmp") return await from.reaches(address);
  return (await knock(from.host, kind, address, port)) !== undefined;
}
