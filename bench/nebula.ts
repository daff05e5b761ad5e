/**
 * Two nebula hosts that know each other: a certificate authority, a lighthouse at the near end and
 * an ordinary host at the far end, everything else at nebula's defaults, but the MTU, which is the
 * other tunnels'.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { runOk, until } from "../test/e2e/support/process.ts";
import type { Host } from "../test/e2e/support/stage.ts";

const port = 4242;
const inside = ["10.77.0.1", "10.77.0.2"] as const;

export interface NebulaPair {
  /** The far host's, inside. */
  readonly address: string;
  readonly pids: readonly number[];
}

export async function openNebula(
  folder: string,
  hosts: readonly [Host, Host],
  mtu: number,
): Promise<NebulaPair> {
  const { directory } = hosts[0].stage;
  const cert = join(folder, "nebula-cert");
  const file = (name: string): string => join(directory, name);
  const authority = ["-out-crt", file("ca.crt"), "-out-key", file("ca.key")];
  await runOk([cert, "ca", "-name", "bench", ...authority]);
  const pids: number[] = [];
  for (const [index, host] of hosts.entries()) {
    const name = `host${index}`;
    const keys = ["-out-crt", file(`${name}.crt`), "-out-key", file(`${name}.key`)];
    const signer = ["-ca-crt", file("ca.crt"), "-ca-key", file("ca.key")];
    const networks = `${inside[index]}/24`;
    await runOk([cert, "sign", "-name", name, "-networks", networks, ...signer, ...keys]);
    const device = host.stage.interfaceName();
    const lighthouse = index === 0;
    const configuration = {
      pki: { ca: file("ca.crt"), cert: file(`${name}.crt`), key: file(`${name}.key`) },
      static_host_map: lighthouse ? {} : { [inside[0]]: [`${hosts[0].v4}:${port}`] },
      lighthouse: { am_lighthouse: lighthouse, hosts: lighthouse ? [] : [inside[0]] },
      listen: { host: "0.0.0.0", port },
      tun: { dev: device, mtu },
      logging: { level: "error" },
      firewall: {
        outbound: [{ port: "any", proto: "any", host: "any" }],
        inbound: [{ port: "any", proto: "any", host: "any" }],
      },
    };
    // JSON is YAML.
    const path = file(`${name}.yml`);
    writeFileSync(path, JSON.stringify(configuration));
    const daemon = host.start([join(folder, "nebula"), "-config", path]);
    await until("nebula's device", async () => isUp(host, device, daemon.running), {
      evidence: () => daemon.log(),
    });
    pids.push(daemon.pid);
  }
  return { address: inside[1], pids };
}

async function isUp(host: Host, device: string, running: boolean): Promise<boolean> {
  if (!running) throw new Error("nebula ended");
  const { code, stdout } = await host.run(["ip", "address", "show", "dev", device, "up"]);
  return code === 0 && stdout.includes("inet ");
}
