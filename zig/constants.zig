//! Every number that more than one file needs: WireGuard's timers (paper section 6.1, kernel
//! `messages.h`) and the capacity of each table, ring and buffer. Imports nothing. A limit that is
//! met is counted (`abi.Counter`) and never fatal.
const std = @import("std");
const assert = std.debug.assert;

pub const ns_per_ms: u64 = 1_000_000;
pub const ns_per_s: u64 = 1_000_000_000;

// WireGuard's timers and limits (paper 6.1).
pub const rekey_after_messages: u64 = 1 << 60;
pub const reject_after_messages: u64 = std.math.maxInt(u64) - (1 << 13);
pub const rekey_after_time_ns: u64 = 120 * ns_per_s;
pub const reject_after_time_ns: u64 = 180 * ns_per_s;
pub const rekey_timeout_ns: u64 = 5 * ns_per_s;
pub const rekey_timeout_jitter_ns: u64 = 334 * ns_per_ms;
pub const keepalive_timeout_ns: u64 = 10 * ns_per_s;
/// A receiving initiator renews this long before the keypair is refused, once (paper 6.2).
pub const rekey_on_receive_after_ns: u64 = reject_after_time_ns - keepalive_timeout_ns - rekey_timeout_ns;
/// Keys are wiped this long after the last handshake.
pub const session_wipe_after_ns: u64 = 3 * reject_after_time_ns;

// Message types (little-endian u32 at offset 0) and exact lengths in bytes.
pub const message_initiation: u32 = 1;
pub const message_response: u32 = 2;
pub const message_cookie_reply: u32 = 3;
pub const message_transport: u32 = 4;
/// "mvi1": meshvpn's introduction; see docs/PROTOCOL.md.
pub const message_introduction: u32 = 0x3169_766d;
/// "mvc1": what an introduction gets under load, a cookie reply in all but type and key.
pub const message_introduction_cookie: u32 = 0x3163_766d;

pub const initiation_bytes: usize = 148;
pub const response_bytes: usize = 92;
pub const cookie_reply_bytes: usize = 64;
pub const transport_header_bytes: usize = 16;
pub const tag_bytes: usize = 16;
pub const transport_overhead_bytes: usize = transport_header_bytes + tag_bytes;
pub const transport_bytes_min: usize = transport_overhead_bytes;
/// Introductions are padded to this length, both ways, so a reply never amplifies.
pub const introduction_bytes: usize = 1200;

pub const key_bytes: usize = 32;
pub const mac_bytes: usize = 16;
pub const padding_multiple: usize = 16;

// Control messages inside a session: first nibble 0, then a length, since WireGuard pads.
/// type u8 (1 to 15), flags u8 (zero), length u16 little-endian of the whole message.
pub const control_header_bytes: usize = 4;
pub const control_message_bytes_max: usize = 1232;

/// An endpoint of this family is a way through a member (relay.zig), not an address.
pub const family_relay: u16 = 1;
/// The control message that transmit and receive handle themselves: a relayed frame (relay.zig).
pub const control_relayed: u8 = 12;
/// How often a frame may be forwarded.
pub const relay_hops_max: u8 = 3;
/// Frames between receive and transmit; more are dropped, as by any router.
pub const relay_ring_frames: u32 = 2048;
/// Pairs of members with a rate of their own at one time.
pub const relay_pairs_max: usize = 4096;
pub const relay_burst_bytes_min: u64 = 64 * 1024;
pub const stun_transactions_max: usize = 64;
/// A member that was sent data and is silent for this long is asked for by the control plane. TCP sends
/// again 0.2, 0.6, 1.4 and 3 s after a loss: another path, found within 0.3 s of this, has the third.
pub const path_silent_after_ns: u64 = 700 * ns_per_ms;
/// The same other address of a member is told of no more often.
pub const path_heard_interval_ns: u64 = 5 * ns_per_s;
/// And different ones no more often than this: whoever sends copies from many ports fills no queue.
pub const paths_heard_interval_ns: u64 = 20 * std.time.ns_per_ms;
/// Of a plain peer as many places are told at once as there are intervals in this: whoever asks after a packet from a new one sees it.
pub const roams_at_once_ns: u64 = 4 * paths_heard_interval_ns;
/// A packet of this length passes by every way: with a frame's and a message's headers it is IPv6's
/// least MTU, 1,280. About longer ones the control plane is asked, while there are any, this often.
pub const path_mtu_sure: u32 = 1280 - 48 - 2 * transport_overhead_bytes - 16;
pub const path_mtu_asked_every_ns: u64 = 15 * ns_per_s;
/// Sockets for birthday probing.
pub const side_sockets_max: u32 = 256;
/// Session messages with a path of their own, in one batch.
pub const detours_max: usize = 64;

// Tables.
pub const devices_max: usize = 16;
pub const peers_max: usize = 1 << 16;
pub const sessions_max: usize = 1 << 16;
pub const prefixes_max: usize = 1 << 20;
pub const secrets_max: usize = 1 << 17;
pub const policy_rules_max: usize = 1024;
/// Peers of whom named rules speak: as many as there are members at most.
pub const policy_peers_max: usize = 1 << 14;
/// Of four flows each, 256 KiB, where a policy is set.
pub const policy_flow_buckets: usize = 1 << 13;
/// Own addresses, and the networks of a record.
pub const destinations_max: usize = 32;

// Rings between the data plane and the control plane.
pub const control_ring_datagrams: usize = 1024;
pub const control_datagram_bytes_max: usize = 1536;
pub const event_ring_events: usize = 4096;
/// Part of the event ring that only life-cycle events may use (link gone, fatal).
pub const event_ring_reserved: usize = 16;
pub const outbox_ring_datagrams: usize = 1024;

// The gate: what strangers may cost.
/// With so many datagrams in the control ring the node is under load (kernel `receive.c`).
pub const load_datagrams: usize = control_ring_datagrams / 8;
/// So is one at which handshakes and introductions arrive faster than this, beyond a burst: each
/// that passes costs a Diffie-Hellman.
pub const load_arrivals_per_s: u64 = 200;
pub const load_arrivals_burst: u64 = 200;
/// And an address that alone sends more than its limit allows (rate_limiter.zig), beyond a burst, is a
/// load by itself: as many as hold a session with one another may stand behind one NAT.
pub const source_load_per_s: u64 = 20;
pub const source_load_burst: u64 = 64;
/// Of addresses, by a keyed hash: those that share one are asked for cookies together.
pub const source_load_cells: usize = 1024;
/// The node, or the address, stays under load for so long after.
pub const load_sticky_ns: u64 = ns_per_s;
/// Cookie replies need no MAC of ours, so they never fill more of the control ring than this.
pub const cookie_reply_ring_datagrams: usize = load_datagrams / 2;
/// Cookie replies of one turn of the receive thread; more are not sent.
pub const cookie_replies_per_turn: usize = 512;
pub const cookie_secret_lifetime_ns: u64 = 120 * ns_per_s;
pub const rate_limiter_entries_max: u32 = 1 << 16;

/// ICMP answers to inner packets that can go nowhere; more are only counted.
pub const icmp_answers_per_turn: usize = 8;
pub const icmp_answers_per_s: u64 = 100;
pub const icmp_answers_burst: u64 = 50;

/// The outer traffic class of handshake messages: AF41, as the kernel's (`messages.h`). Data has
/// ECN alone.
pub const handshake_traffic_class: u8 = 0x88;

// Staging: packets that wait for a keypair.
pub const staged_packets_max: usize = 128;
pub const staged_bytes_max: usize = 256 * 1024;
pub const staging_peers_max: usize = 256;

/// How often transmit asks the kernel where a way leads (source_address.zig).
pub const route_questions_per_s: u64 = 1000;
pub const route_questions_burst: u64 = 256;

// Packets to addresses that no peer holds and some peer may (awaited.zig), for each lane.
pub const awaited_addresses_max: usize = 128;
/// Nobody's, until it is asked again.
pub const awaited_refused_ns: u64 = ns_per_s;
/// The control plane answers within a turn, or does not.
pub const awaited_ns: u64 = 5 * ns_per_s;

// Lanes: pairs of packet threads, each with a queue of the TUN and a socket of its own (lane.zig).
/// A power of two: the lane of a session is in the low bits of its index.
pub const lanes_max: usize = 8;
/// What one lane may have waiting that came in at another.
pub const handover_packets: usize = 128;
pub const handover_bytes: usize = 512 * 1024;

/// Threads that seal or open for one packet thread, at most.
pub const crypto_workers_max: usize = 8;

// Packet buffers.
pub const ip_packet_bytes_max: usize = 65_535;
pub const udp_payload_bytes_max: usize = 65_507;
pub const virtio_header_bytes: usize = 10;
/// One TUN read needs this much room: a super-packet behind its virtio header.
pub const tun_read_bytes_max: usize = virtio_header_bytes + ip_packet_bytes_max + 1;
/// Packets read from the TUN before they are sealed together.
pub const tun_batch_packets: usize = 128;
/// A packet that may well come alone: a ping, an acknowledgement.
pub const light_bytes: usize = 256;
pub const tun_batch_bytes: usize = 512 * 1024;
/// A TUN batch is full enough to be sealed at this many bytes: more only makes it cold in cache.
pub const tun_batch_bytes_enough: usize = 48 * 1024;
/// Sealed segments laid out before a send.
pub const send_arena_bytes: usize = 256 * 1024;
pub const send_segments_max: usize = 1024;
/// Datagrams (each up to 64 KiB when the kernel coalesces) received before they are opened together.
pub const receive_batch_messages: usize = 8;
/// As many where most of the last were small: strangers' floods are not merged by the kernel, and
/// what a tunnel carries waits between their datagrams.
pub const receive_batch_messages_max: usize = 32;
/// The socket of handshakes is read for no longer than this at once, and by a busy thread not again for as
/// long as that took, or for the second.
pub const handshakes_at_once_ns: u64 = 2 * ns_per_ms;
pub const aside_rest_ns: u64 = ns_per_ms;
/// Of strangers' data no more than so many datagrams at once: one that is authentic makes its source known.
/// The rest waits in this much room (doubled by the kernel), where a flood is refused for a tenth of the price.
pub const strangers_at_once: usize = 2 * receive_batch_messages_max;
pub const strangers_buffer_bytes: c_int = 1 << 20;
/// Sources of data that the kernel knows of; with more within this time it is told that all are known.
pub const sources_max: usize = 128;
pub const sources_crowded_ns: u64 = 600 * ns_per_s;
pub const receive_small_bytes: usize = 2048;
pub const receive_batch_segments: usize = 2048;
/// Datagrams written to the TUN before the receive thread gives way to those who read them.
pub const datagrams_before_yield: usize = 64;
/// Segments in one UDP_SEGMENT send: Linux before 6.9 takes 64; probed at start.
pub const udp_segments_max_old: usize = 64;
pub const udp_segments_max: usize = 128;
/// A path whose segmented send failed is tried again after this long.
pub const segment_retry_after_ns: u64 = 300 * ns_per_s;

pub const busy_poll_us_max: u32 = 1000;

// Connected sockets: a peer is busy that is sent so many datagrams within so long.
pub const connected_sockets_max: usize = 16;
pub const connected_busy_datagrams: u32 = 1024;
pub const connected_busy_within_ns: u64 = ns_per_s;
pub const connected_retry_after_ns: u64 = 10 * ns_per_s;
/// One that nothing was sent through for so long goes.
pub const connected_idle_ns: u64 = 10 * ns_per_s;

pub const cache_line_bytes: usize = 128;
pub const mtu_default: u32 = 1420;
pub const mtu_min: u32 = 576;
pub const mtu_max: u32 = 65_535 - 80;

comptime {
    assert(transport_overhead_bytes == 32);
    assert(control_datagram_bytes_max >= introduction_bytes);
    assert(control_datagram_bytes_max >= control_message_bytes_max + transport_overhead_bytes);
    assert(tun_batch_bytes > 2 * tun_read_bytes_max);
    assert(std.math.isPowerOfTwo(lanes_max));
    assert(std.math.isPowerOfTwo(source_load_cells));
    // Else the node was under load before.
    assert(source_load_burst < load_arrivals_burst);
    assert(load_datagrams % source_load_burst == 0);
    assert(handover_bytes > 2 * tun_read_bytes_max);
    // Receive names the path of a datagram by a byte.
    assert(receive_batch_messages_max + handover_packets <= 256);
    assert(send_arena_bytes > 2 * udp_payload_bytes_max);
    assert(rekey_on_receive_after_ns == 165 * ns_per_s);
}
