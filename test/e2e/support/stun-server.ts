/**
 * A STUN server for tests, honest or not: `stun-server.ts ADDRESS [--other ADDRESS] [--lie HOW]`.
 * With another address it answers from there too, as RFC 5780 says. Lies: `reserved` and
 * `IP:PORT` put the asker elsewhere, `flood` answers a hundred times and from elsewhere as well,
 * `other=IP:PORT` names a stranger as its other address.
 */
import type { Endpoint } from "../../../src/base/endpoint.ts";
import { parseEndpoint } from "../../../src/base/ip.ts";
import { answerBytes, readRequest } from "../../support/stun-answers.ts";

const port = 3478;
const otherPort = 3479;
const floodAnswers = 100;

const [address = "", ...options] = process.argv.slice(2);
const option = (name: string): string | undefined => {
  const at = options.indexOf(name);
  return at < 0 ? undefined : options[at + 1];
};
const otherAddress = option("--other");
const lie = option("--lie") ?? "";

type Socket = Bun.udp.Socket<"buffer">;
const sockets = new Map<string, Socket>();

function named(from: string): Endpoint {
  const claimed = lie.startsWith("other=") ? parseEndpoint(lie.slice(6)) : undefined;
  if (claimed !== undefined) return claimed;
  return { address: otherAddress ?? from, port: otherPort };
}

function seenAs(asker: Endpoint): Endpoint {
  if (lie === "reserved") return { address: "10.1.2.3", port: 9 };
  return parseEndpoint(lie) ?? asker;
}

async function listen(local: Endpoint): Promise<void> {
  const socket = await Bun.udpSocket({
    hostname: local.address,
    port: local.port,
    socket: {
      data: (own, bytes, fromPort, from) => {
        const request = readRequest(bytes);
        if (request === undefined) return;
        const asker = { address: from, port: fromPort };
        const answer = answerBytes(request.id, {
          mapped: seenAs(asker),
          other: otherAddress === undefined && !lie.startsWith("other=") ? undefined : named(from),
        });
        const wantedAddress = request.changeAddress ? otherAddress : local.address;
        const wantedPort = request.changePort ? otherPort : local.port;
        const by = sockets.get(`${wantedAddress} ${wantedPort}`);
        if (by === undefined) return;
        const count = lie === "flood" ? floodAnswers : 1;
        for (let sent = 0; sent < count; sent += 1) by.send(answer, fromPort, from);
        if (lie === "flood") for (const each of sockets.values()) each.send(answer, fromPort, from);
        void own;
      },
    },
  });
  sockets.set(`${local.address} ${local.port}`, socket);
}

const addresses = otherAddress === undefined ? [address] : [address, otherAddress];
for (const each of addresses) {
  for (const at of [port, otherPort]) await listen({ address: each, port: at });
}
console.log("ready");
