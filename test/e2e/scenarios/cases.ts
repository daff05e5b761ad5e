/**
 * All scenarios, and what they stand for: the cases of the kernel's
 * tools/testing/selftests/wireguard/netns.sh, counted in its order.
 */
import { allowedIps } from "./allowed-ips.ts";
import { keys } from "./keys.ts";
import { life } from "./life.ts";
import { mtu } from "./mtu.ts";
import { nat } from "./nat.ts";
import { roaming } from "./roaming.ts";
import { routing } from "./routing.ts";
import type { Scenario } from "./scenario.ts";
import { sticky } from "./sticky.ts";
import { tunnels } from "./tunnels.ts";

/** The long ones first, so that the last lane does not end late. */
export const scenarios: readonly Scenario[] = [
  ...tunnels,
  ...routing,
  ...nat,
  ...allowedIps,
  ...life,
  ...keys,
  ...sticky,
  ...mtu,
  ...roaming,
];

export const kernelCases: Readonly<Record<number, string>> = {
  1: "pings over IPv4, both ways",
  2: "pings over IPv6, both ways",
  3: "TCP over IPv4",
  4: "TCP over IPv6",
  5: "UDP over IPv4 at no limit",
  6: "UDP over IPv6 at no limit",
  7: "4, 5 and 50 TCP streams at once",
  8: "exact counts of bytes, and the time of the last handshake",
  9: "cases 1 to 7 outside IPv4",
  10: "the same with an MTU of 34,736",
  11: "cases 1 to 7 outside IPv6",
  12: "the same with an MTU of 34,736",
  13: "padding within a route's MTU",
  14: "roaming to another IPv4 endpoint",
  15: "roaming to an IPv6 endpoint",
  16: "the source check, which does not keep a peer from roaming",
  17: "changes of private keys",
  18: "a tunnel in a tunnel",
  19: "a routing loop",
  20: "source NAT that forgets after 2 s",
  21: "a persistent keepalive behind it",
  22: "a socket bound to the interface",
  23: "a mark that has the packet routed again",
  24: "a peer inside the tunnel of another peer",
  25: "a peer inside its own tunnel",
  26: "wg-quick's policy routing, under a flood of pings",
  27: "ICMP unreachable along the right route",
  28: "a local IPv4 address that goes away",
  29: "a local IPv6 address that goes away",
  30: "answers from the address that was asked, of four",
  31: "the same for an address of another interface",
  32: "a better route over another interface",
  33: "65,280 prefixes of each family on a peer",
  34: "40 peers with 52 prefixes",
  35: "29 peers without a prefix, and one with",
  36: "197 prefixes of IPv6",
  37: "an interface that does not exist",
  38: "keys set, shown, and taken away",
  39: "the own public key as a peer",
  40: "the private key as it is used, read back",
  41: "prefixes set again, over one another",
  42: "seven public keys of low order",
  43: "a namespace that ends with all that is in it",
  44: "every object that was made was freed again",
};
