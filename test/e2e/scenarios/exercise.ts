/** What every kind of tunnel must carry: the kernel's `tests`, in amounts that two cores like. */
import { iperf } from "../support/iperf.ts";
import type { Host } from "../support/stage.ts";
import { firstPing, flood } from "../support/traffic.ts";
import type { Tunnel } from "../support/wireguard.ts";

export interface End {
  readonly host: Host;
  /** Inside the tunnel. */
  readonly v4: string;
  readonly v6: string;
}

const tcpBytes = 48_000_000;
const udpBytes = 8_000_000;
const parallelBytes = 64_000_000;
const parallelStreams = [4, 5, 50] as const;

export function endsOf(tunnel: Tunnel): readonly [End, End] {
  const end = (device: Tunnel["left"]): End => ({
    host: device.host,
    v4: tunnel.address(device, 4),
    v6: tunnel.address(device, 6),
  });
  return [end(tunnel.left), end(tunnel.right)];
}

/** Pings both ways, TCP and UDP over both families, and many streams at once. */
export async function exercise([left, right]: readonly [End, End]): Promise<void> {
  // The kernel makes an address of IPv6 its own a moment after it was added.
  await firstPing(left.host, right.v6);
  await firstPing(right.host, left.v6);
  await flood(left.host, right.v4, 10);
  await flood(right.host, left.v4, 10);
  await flood(left.host, right.v6, 10);
  await flood(right.host, left.v6, 10);
  await iperf(left.host, right.host, right.v4, { bytes: tcpBytes });
  await iperf(right.host, left.host, left.v6, { bytes: tcpBytes });
  await iperf(left.host, right.host, right.v4, { bytes: udpBytes, udp: true });
  await iperf(right.host, left.host, left.v6, { bytes: udpBytes, udp: true });
  for (const streams of parallelStreams) {
    const load = { bytes: parallelBytes / streams, streams };
    await iperf(left.host, right.host, right.v4, load);
  }
}
