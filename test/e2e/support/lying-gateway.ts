/**
 * A gateway that answers every way of asking for a port, and lies: `lying-gateway.ts ADDRESS HOW
 * [OUTSIDE]`. `nonce`: PCP with another nonce, `short`: with a part of an answer, `elsewhere`: a
 * description at OUTSIDE, `control`: a service there, `endless`: a description without an end,
 * `mapped`: everything as it should be, from OUTSIDE.
 */

import { createSocket } from "node:dgram";
import { createServer } from "node:http";
import { parseAddress, toMapped } from "../../../src/base/ip.ts";

const [address = "", how = "", outside = "203.0.113.77"] = process.argv.slice(2);
const httpPort = 5_000;
const service = "urn:schemas-upnp-org:service:WANIPConnection:1";

function outsideBytes(): Uint8Array {
  const parsed = parseAddress(outside);
  if (parsed === undefined) throw new Error(`${outside} is no address`);
  return toMapped(parsed);
}

function pcpAnswer(request: Buffer): Buffer | undefined {
  if (request[0] !== 2 || request.length !== 60) return undefined;
  const answer = Buffer.from(request);
  answer[1] = 0x81;
  answer.writeUInt16BE(0, 2);
  answer.writeUInt32BE(7_200, 4);
  answer.writeUInt32BE(1_000, 8);
  answer.fill(0, 12, 24);
  answer.set(outsideBytes(), 44);
  if (how === "nonce") answer[24] = (answer[24] ?? 0) ^ 1;
  if (how === "mapped" || how === "nonce") return answer;
  return how === "short" ? answer.subarray(0, 40) : undefined;
}

/** Who has gone before the answer came is told by ICMP. */
function told(error: Error): void {
  console.log(error.message);
}

const pcp = createSocket("udp4");
pcp.on("message", (request, from) => {
  const answer = pcpAnswer(request);
  if (answer !== undefined) pcp.send(answer, from.port, from.address);
});
pcp.on("error", told);
pcp.bind(5_351, address);

const ssdp = createSocket({ type: "udp4", reuseAddr: true });
ssdp.on("message", (request, from) => {
  const target = /^ST: (.*)\r$/m.exec(request.toString())?.[1];
  const host = how === "elsewhere" ? outside : address;
  const answer = [
    "HTTP/1.1 200 OK",
    `ST: ${target}`,
    `LOCATION: http://${host}:${httpPort}/root.xml`,
    "",
    "",
  ];
  ssdp.send(answer.join("\r\n"), from.port, from.address);
});
ssdp.on("error", told);
ssdp.bind(1_900, address);

createServer((request, response) => {
  if (request.url === "/root.xml") {
    response.writeHead(200, { "content-type": "text/xml" });
    if (how === "endless") {
      const more = (): void => {
        if (!response.destroyed) response.write("<service>".repeat(64), () => setTimeout(more, 1));
      };
      more();
      return;
    }
    const control = how === "control" ? `http://${outside}:${httpPort}/control` : "/control";
    response.end(
      `<root><device><serviceList><service><serviceType>${service}</serviceType><controlURL>${control}</controlURL></service></serviceList></device></root>`,
    );
    return;
  }
  console.log(`action ${request.headers.soapaction}`);
  const inner = `<NewExternalIPAddress>${outside}</NewExternalIPAddress>`;
  response.end(`<s:Envelope><s:Body><u:Response>${inner}</u:Response></s:Body></s:Envelope>`);
}).listen(httpPort, address, () => console.log("ready"));
