/**
 * Where an implementation is known to end a scenario otherwise than the kernel, and why. Whoever
 * makes a scenario pass takes its line away: a difference that does not show is a failure.
 */

/** By the scenario's title, then by the implementation's name. */
export const differences: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  "an endpoint that is routed into its own tunnel does not feed on itself": {
    "wireguard-go debian": "it seals its own datagrams again and again: 35 MB in two seconds",
    "wireguard-go newest": "it seals its own datagrams again and again: 50 MB in two seconds",
  },
  "a host behind a peer that has no way on is told so at once, by an ICMP error": {
    "wireguard-go debian": "it drops what no peer owns and tells nobody",
    "wireguard-go newest": "it drops what no peer owns and tells nobody",
  },
  "an IPv4 address that goes away is replaced by another at once": {
    "wireguard-go debian":
      "it names the interface beside the address, and then Linux sends from one that is gone",
  },
  "of four addresses each is answered from, where it was asked": {
    "wireguard-go newest":
      "after a datagram to IPv4 the buffer of an IPv6 destination holds only its first 4 bytes",
  },
  "an address of another interface is answered from when it is asked": {
    "wireguard-go newest":
      "with UDP_GRO it splits what it received without the control message that holds the address",
  },
  "a peer is followed to another port over IPv4, and then to IPv6": {
    "wireguard-go newest":
      "after a datagram to IPv4 the buffer of an IPv6 destination holds only its first 4 bytes",
  },
};
