//! The border between the library and its caller: every struct, enum and number that crosses it,
//! written once. `zig build abi` prints `src/native/abi.ts` from this file. Structs are extern, of
//! fixed width, little-endian, without implicit padding; a negative result is `-Error`; the caller
//! owns all memory. Imports only constants.
const std = @import("std");
const constants = @import("constants.zig");

/// Raised with every change of a struct, enum or function below.
pub const version: u32 = 12;

pub const Error = enum(i32) {
    ok = 0,
    invalid_argument = 1,
    no_such_device = 2,
    no_such_peer = 3,
    stale_peer = 4,
    peer_exists = 5,
    table_full = 6,
    out_of_memory = 7,
    no_such_secret = 8,
    low_order_point = 9,
    not_authentic = 10,
    buffer_too_small = 11,
    address_in_use = 12,
    permission_denied = 13,
    no_tun = 14,
    link_gone = 15,
    system = 16,
    wrong_state = 17,
    key_file_open_to_others = 18,
    key_file_invalid = 19,
    no_such_file = 20,
    file_exists = 21,
    interface_busy = 22,
    uapi_in_use = 23,
    ring_full = 24,
    self_test_failed = 25,
    _,
};

/// What `open` was about when it failed.
pub const OpenStep = enum(u32) {
    none = 0,
    cipher = 1,
    tun = 2,
    netlink = 3,
    mtu = 4,
    udp = 5,
    tables = 6,
    ways = 7,
    lanes = 8,
    uapi = 9,
    _,
};

/// Why `open` failed the last time, beyond its result: for the operator.
pub const OpenFailure = extern struct {
    step: OpenStep = .none,
    /// errno of the system call that failed, else 0.
    system_errno: u32 = 0,
};

/// A peer: a slot, and the generation that tells this use of the slot from an earlier one. The
/// caller allots both; generation 0 means "no peer".
pub const PeerRef = extern struct {
    slot: u32 = 0,
    generation: u32 = 0,
};

/// An IP address and a port. IPv4 stands as IPv4-mapped IPv6 (::ffff:a.b.c.d).
pub const Endpoint = extern struct {
    address: [16]u8 = @splat(0),
    /// Interface index: the scope of a link-local address, or the arrival interface of a local one.
    /// Of a remote IPv4 address: the side socket by which it is spoken to, 0 the main one.
    scope: u32 = 0,
    port: u16 = 0,
    /// 0 none, 4 or 6; or constants.family_relay, and then `address` holds a member's peer slot
    /// (u32) and generation (u32), and the first 6 bytes of the identity that it relays to.
    family: u16 = 0,
};

/// An IP prefix; the first 4 bytes of `address` for IPv4.
pub const Prefix = extern struct {
    address: [16]u8 = @splat(0),
    bits: u8 = 0,
    /// 4 or 6.
    family: u8 = 0,
    padding: [6]u8 = @splat(0),
};

/// Who may reach which ports of this node, or of what lies behind it; the first that speaks of a
/// packet decides.
pub const PolicyRule = extern struct {
    /// Where the packet goes to; family 0 is anywhere, in either family.
    destination: Prefix = .{},
    /// 0 to 65,535 is any, and speaks of what has no ports as well.
    port_first: u16 = 0,
    port_last: u16 = 65_535,
    /// IP protocol; 0 is any, and 1 is ICMP in either family.
    protocol: u8 = 0,
    /// 1 lets it in, 0 does not.
    action: u8 = 0,
    /// 1: it speaks only of the peers in whose set its bit is; 0: of everybody.
    named: u8 = 0,
    padding: u8 = 0,
};

/// What no rule speaks of is let in.
pub const policy_flag_default_allow: u32 = 1;
/// Flows that were let in stay so: nobody has lost a right.
pub const policy_flag_keep_flows: u32 = 2;

pub const config_flag_no_tun: u32 = 1;
pub const config_flag_uapi: u32 = 2;
pub const config_flag_no_udp_offload: u32 = 4;
pub const config_flag_no_tun_offload: u32 = 8;
/// A connected socket of its own for each peer that is busy.
pub const config_flag_connected_sockets: u32 = 16;

/// Which implementation seals and opens packets.
pub const Cipher = enum(u32) {
    /// The widest batch that this processor can run, else libsodium.
    auto = 0,
    /// The same, but an error where no batch can run.
    batch = 1,
    libsodium = 2,
    /// Held to AVX2, for comparisons; an error where that cannot run.
    avx2 = 3,
    _,
};

/// Whether packets go through io_uring instead of one system call for each batch or packet.
pub const IoUring = enum(u32) {
    /// Where it is known to be faster: nowhere yet, so the same as off.
    auto = 0,
    on = 1,
    off = 2,
    /// On, with a thread of the kernel that submits and takes a core for it.
    sqpoll = 3,
    _,
};

/// What became of it.
pub const IoUringState = enum(u32) {
    off = 0,
    on = 1,
    sqpoll = 2,
    /// The kernel refuses it (`io_uring_errno`), so packets go the usual way.
    refused = 3,
    _,
};

pub const Config = extern struct {
    interface_name: [16]u8 = @splat(0),
    mtu: u32 = constants.mtu_default,
    /// 0: any free port.
    listen_port: u32 = 0,
    fwmark: u32 = 0,
    flags: u32 = 0,
    /// For the whole process: the last device that is opened says.
    cipher: Cipher = .auto,
    /// Pairs of packet threads, a power of two; 0 = 1. The low bits of a session's index are those
    /// of its peer's slot.
    lanes: u32 = 0,
    /// Threads beside each packet thread that seal and open with it, at most 8.
    crypto_workers: u32 = 0,
    io_uring: IoUring = .auto,
    /// SO_BUSY_POLL, in microseconds: how long a receive asks the network card. 0 = never.
    busy_poll_us: u32 = 0,
    padding: u32 = 0,
};

pub const CommandKind = enum(u32) {
    /// peer, key: its WireGuard public key (only shown, never looked up here).
    peer_add = 1,
    peer_remove = 2,
    /// peer, remote, local: the answer to a handshake of ours or the configuration said so. Not the
    /// peer's own initiation: that may be an old one (see `Rx.accept`).
    peer_endpoint_set = 3,
    /// peer, number: seconds, 0 = off.
    peer_keepalive_set = 4,
    /// peer, prefix. A prefix that another peer holds moves.
    allowed_ip_add = 5,
    allowed_ip_remove = 6,
    allowed_ips_clear = 7,
    /// peer, secret_send, secret_receive (consumed in any case), local_index, remote_index,
    /// flags: keypair_flag_initiator.
    keypair_install = 8,
    /// peer: all keypairs are wiped and staged packets dropped.
    keypairs_drop = 9,
    /// peer: packets waiting for a handshake that was given up are dropped.
    staged_drop = 10,
    /// key: this device's WireGuard public key, for MAC1; all zero = none, handshakes are refused.
    local_key_set = 11,
    /// key: this node's identity public key, for the introduction's MAC; all zero = refused.
    introduction_key_set = 12,
    /// number: port, 0 = any free one. Status.value is the port that is bound.
    listen_port_set = 13,
    fwmark_set = 14,
    mtu_set = 15,
    link_up = 16,
    /// prefix: an address of the interface.
    address_add = 17,
    address_remove = 18,
    /// prefix: a route to the interface; number: the table, 0 = main.
    route_add = 19,
    route_remove = 20,
    /// peer, number: bytes of an authentic handshake message that came from it.
    handshake_received = 21,
    /// peer, number: the first 6 bytes of its identity, little-endian. It is a member: what moves
    /// its path is the control plane's decision, and frames for it are forwarded.
    peer_member_set = 22,
    /// number: this node's own 6 bytes, 0 = no member. local_index: KiB a second that are forwarded
    /// for each pair of members, 0 = no limit.
    relay_set = 23,
    /// key: a STUN transaction id in its first 12 bytes; number: for how many ms one answer passes.
    stun_expect = 24,
    /// Opens those sockets for birthday probing that are not there: an endpoint of IPv4 with
    /// `scope` from 1 on is spoken to by one of them. Status.value: how many there are.
    side_sockets_open = 25,
    /// prefix: where the packets go to whom the rule is for (0 bits: anywhere in that family),
    /// local_index: its priority, number: the table that is looked up, remote_index: where it jumps to if
    /// no table is (then it is for what this device itself sends), flags: 1 + the bits of the longest
    /// prefix in the table that does not count, or 0.
    rule_add = 26,
    rule_remove = 27,
    /// Closes the side sockets by which no peer is spoken to. Status.value: how many are left.
    side_sockets_close = 28,
    /// peer, number: the longest inner packet that its path carries; 0 = not known, so the
    /// interface's MTU. Longer ones are answered as those that are too long for the interface.
    peer_mtu_set = 29,
    /// prefix: packets to an address of it that no peer holds wait, and it is said that one is wanted.
    destinations_await = 30,
    /// prefix: one address, that is nobody's. What waits for it is answered as unreachable.
    destination_refuse = 31,
    _,
};

pub const keypair_flag_initiator: u32 = 1;

pub const Command = extern struct {
    kind: CommandKind,
    flags: u32 = 0,
    peer: PeerRef = .{},
    number: u64 = 0,
    secret_send: u32 = 0,
    secret_receive: u32 = 0,
    local_index: u32 = 0,
    remote_index: u32 = 0,
    key: [32]u8 = @splat(0),
    remote: Endpoint = .{},
    local: Endpoint = .{},
    prefix: Prefix = .{},
};

pub const Status = extern struct {
    /// 0, or a negative Error.
    code: i32 = 0,
    /// errno of the system call that failed, else 0.
    system_errno: u32 = 0,
    value: u64 = 0,
};

pub const EventKind = enum(u32) {
    /// peer, reason: HandshakeReason. At most one a second for a peer until a keypair is installed.
    handshake_wanted = 1,
    /// peer, number: local index. The first authentic packet arrived on a responder's keypair.
    keypair_confirmed = 2,
    /// peer: nothing was renewed for 540 s; its keypairs should be dropped.
    session_expired = 3,
    /// peer, remote, local: an authentic packet came from a new address.
    endpoint_roamed = 4,
    /// The interface was deleted, or its UAPI socket, which by convention ends a device too.
    link_gone = 5,
    /// number: the interface's new MTU in bytes.
    mtu_changed = 6,
    /// reason: 1 up, 0 down.
    link_changed = 7,
    /// number: errno. A thread ended; the device must be closed.
    fatal = 8,
    /// A UAPI request waits: call uapi_receive.
    uapi_request = 9,
    /// peer, remote, local: an authentic packet of a member came by another path than its own.
    path_heard = 10,
    /// peer: a member was sent data, and nothing came back for a second.
    path_silent = 11,
    /// Addresses or routes of this machine have changed.
    network_changed = 12,
    /// peer, number: the interface's MTU. Packets go to a member that are longer than those whose way
    /// is sure: whether its path carries them is to be found out.
    path_mtu_wanted = 13,
    /// remote: an address without a port. Packets wait for a peer that holds it; once a second.
    destination_wanted = 14,
    _,
};

pub const HandshakeReason = enum(u32) {
    /// A packet waits and there is no usable keypair.
    no_keypair = 1,
    /// The initiator's keypair is 120 s old (on send) or 165 s (on receive).
    keypair_age = 2,
    /// 2^60 messages.
    keypair_messages = 3,
    /// Data was sent and nothing came back for 15 s.
    no_answer = 4,
    /// A persistent keepalive is due and there is no keypair.
    persistent_keepalive = 5,
    _,
};

pub const Event = extern struct {
    kind: EventKind,
    reason: u32 = 0,
    peer: PeerRef = .{},
    number: u64 = 0,
    /// CLOCK_BOOTTIME, ns.
    at_ns: u64 = 0,
    remote: Endpoint = .{},
    local: Endpoint = .{},
};

pub const DatagramKind = enum(u32) {
    initiation = 1,
    response = 2,
    cookie_reply = 3,
    /// Inside a session: `peer` says whose. On send: sealed by the data plane, staged if need be.
    session_message = 4,
    introduction = 5,
    /// STUN: the answer to a request of ours.
    stun = 6,
    /// On send only: any bytes to `remote`.
    raw = 7,
    /// The answer of a node under load to an introduction of ours; see gate.zig.
    introduction_cookie = 8,
    _,
};

/// One datagram inside the byte buffer that travels beside it.
pub const Datagram = extern struct {
    kind: DatagramKind,
    /// Offset and length in the byte buffer.
    offset: u32 = 0,
    length: u32 = 0,
    /// On send of a session_message to `remote`: 0, or the length to which it is padded, to be sent
    /// unfragmented or not at all.
    padded: u32 = 0,
    /// session_message: the peer. On send of a handshake: whose counters and timers it moves.
    peer: PeerRef = .{},
    /// CLOCK_BOOTTIME, ns, of arrival.
    at_ns: u64 = 0,
    remote: Endpoint = .{},
    /// The address it was sent to (receive), or to be sent from (send; family 0 = kernel's choice).
    local: Endpoint = .{},
};

pub const PeerStats = extern struct {
    peer: PeerRef = .{},
    tx_bytes: u64 = 0,
    rx_bytes: u64 = 0,
    tx_packets: u64 = 0,
    rx_packets: u64 = 0,
    /// CLOCK_BOOTTIME, ns; 0 = never.
    last_sent_ns: u64 = 0,
    last_received_ns: u64 = 0,
    /// When the current keypair was installed; 0 = none.
    keypair_at_ns: u64 = 0,
    staged_packets: u32 = 0,
    flags: u32 = 0,
    remote: Endpoint = .{},
};

pub const device_flag_tun_offload: u32 = 1;
pub const device_flag_tun_uso: u32 = 2;
pub const device_flag_udp_segmentation: u32 = 4;
pub const device_flag_udp_gro: u32 = 8;

pub const DeviceInfo = extern struct {
    interface_name: [16]u8 = @splat(0),
    interface_index: u32 = 0,
    listen_port: u32 = 0,
    mtu: u32 = 0,
    flags: u32 = 0,
    segments_max: u32 = 0,
    lanes: u32 = 0,
    crypto_workers: u32 = 0,
    io_uring: IoUringState = .off,
    /// errno of what was refused, else 0.
    io_uring_errno: u32 = 0,
    /// Peers that have a connected socket of their own just now.
    connected_sockets: u32 = 0,
    /// Name of the implementation that seals and opens packets, zero-terminated.
    cipher: [16]u8 = @splat(0),
};

/// Each counter once; the order is the order of `meshvpn_counters`.
pub const Counter = enum(u32) {
    tun_read_calls,
    tun_read_packets,
    tun_read_bytes,
    tun_read_malformed,
    tun_write_calls,
    tun_write_packets,
    tun_write_bytes,
    tun_write_failed,
    no_route,
    no_endpoint,
    staged,
    staged_dropped,
    staging_full,
    sealed_packets,
    sealed_bytes,
    opened_packets,
    opened_bytes,
    keepalives_sent,
    keepalives_received,
    udp_send_calls,
    udp_send_datagrams,
    udp_send_failed,
    udp_segmentation_refused,
    udp_receive_calls,
    udp_receive_datagrams,
    udp_receive_bytes,
    udp_receive_overflow,
    control_truncated,
    malformed,
    unknown_type,
    unknown_index,
    mac1_invalid,
    handshakes_refused_no_key,
    introduction_mac_invalid,
    handshakes_received,
    introductions_received,
    not_authentic,
    keypair_expired,
    replayed,
    counter_limit,
    inner_malformed,
    inner_source_refused,
    session_messages_received,
    session_messages_sent,
    control_ring_full,
    event_ring_full,
    outbox_ring_full,
    uapi_refused,
    /// Under load, without the MAC of a valid cookie.
    mac2_invalid,
    introduction_cookie_invalid,
    /// To either; what could not be sent is in the second.
    cookie_replies_sent,
    cookie_replies_dropped,
    /// Received, while as many as may wait were waiting.
    cookie_reply_ring_full,
    /// Under load, with a cookie, too many from one source.
    handshakes_limited,
    introductions_limited,
    rate_limiter_full,
    /// Inner packets that the policy does not let in.
    policy_refused,
    /// Congestion outside, on an inner packet whose sender does not know the bit (RFC 6040).
    ecn_refused,
    /// ICMP answers into the TUN, and those that were not worth one more.
    icmp_sent,
    icmp_limited,
    /// Between lanes; what found no place is in the second.
    handed_over,
    handover_full,
    /// Rings that the kernel refused or that failed; what they were for went the usual way.
    io_uring_refused,
    connected_sockets_opened,
    /// As many as may be were open, or the system refused one: the device's own serves.
    connected_sockets_refused,
    /// Relayed frames: for this node, and passed on to others.
    relayed_received,
    relayed_forwarded,
    /// Malformed, nested, from or for nobody this node may serve, or not of who it says.
    relayed_refused,
    relayed_over_quota,
    relayed_ring_full,
    /// Packets whose path is a member without a session.
    relay_unavailable,
    stun_received,
    /// Packets of the TUN that are longer than its MTU; see icmp_sent.
    too_big,
    /// Inner packets to where this node leads nobody.
    inner_destination_refused,
    /// Addresses that no peer held and some peer may: told of, and beyond what may be awaited at once.
    destinations_wanted,
    destinations_full,
};

comptime {
    const sizes = .{
        .{ PeerRef, 8 },    .{ Endpoint, 24 },   .{ Prefix, 24 },     .{ Config, 56 },
        .{ Command, 144 },  .{ Status, 16 },     .{ Event, 80 },      .{ Datagram, 80 },
        .{ PeerStats, 96 }, .{ DeviceInfo, 72 }, .{ PolicyRule, 32 }, .{ OpenFailure, 8 },
    };
    for (sizes) |row| {
        if (@sizeOf(row[0]) != row[1]) @compileError(std.fmt.comptimePrint(
            "{s} is {d} bytes",
            .{ @typeName(row[0]), @sizeOf(row[0]) },
        ));
    }
}
