//! The root of the Zig tests: every file that has tests, once, in alphabetical order.
//!
//! `zig build test` compiles this file; a file that is not named here is not tested, and
//! test/unit/layers.test.ts fails for it.

comptime {
    _ = @import("abi_json.zig");
    _ = @import("aead_test.zig");
    _ = @import("allowed_ips.zig");
    _ = @import("awaited.zig");
    _ = @import("checksum.zig");
    _ = @import("coalesce.zig");
    _ = @import("coalesce_test.zig");
    _ = @import("connected_socket_test.zig");
    _ = @import("control_message.zig");
    _ = @import("cookie.zig");
    _ = @import("crypto.zig");
    _ = @import("crypto_queue.zig");
    _ = @import("device_churn_test.zig");
    _ = @import("device_events_test.zig");
    _ = @import("device_hostile_test.zig");
    _ = @import("device_offload_test.zig");
    _ = @import("device_relay_test.zig");
    _ = @import("device_awaited_test.zig");
    _ = @import("device_rules_test.zig");
    _ = @import("device_test.zig");
    _ = @import("ecn.zig");
    _ = @import("device_uring_test.zig");
    _ = @import("gate.zig");
    _ = @import("icmp.zig");
    _ = @import("index_table.zig");
    _ = @import("inner_packet.zig");
    _ = @import("io_test.zig");
    _ = @import("key_file.zig");
    _ = @import("key_text.zig");
    _ = @import("handover.zig");
    _ = @import("keypair.zig");
    _ = @import("load.zig");
    _ = @import("lane.zig");
    _ = @import("mac1.zig");
    _ = @import("mac_lanes.zig");
    _ = @import("metrics.zig");
    _ = @import("model_test.zig");
    _ = @import("netlink.zig");
    _ = @import("netlink_message.zig");
    _ = @import("netlink_test.zig");
    _ = @import("notify_socket.zig");
    _ = @import("offload.zig");
    _ = @import("pacer.zig");
    _ = @import("peer.zig");
    _ = @import("destinations.zig");
    _ = @import("policy.zig");
    _ = @import("primitives.zig");
    _ = @import("queue.zig");
    _ = @import("rate_limiter.zig");
    _ = @import("relay.zig");
    _ = @import("replay.zig");
    _ = @import("routing_loop.zig");
    _ = @import("secrets.zig");
    _ = @import("staging.zig");
    _ = @import("steering.zig");
    _ = @import("stun_filter.zig");
    _ = @import("system_errno.zig");
    _ = @import("table_lock.zig");
    _ = @import("transport.zig");
    _ = @import("tun_linux.zig");
    _ = @import("tun_linux_test.zig");
    _ = @import("uapi_test.zig");
    _ = @import("uapi_text.zig");
    _ = @import("udp_group.zig");
    _ = @import("udp_linux.zig");
    _ = @import("udp_linux_test.zig");
    _ = @import("uring_linux.zig");
    _ = @import("uring_linux_test.zig");
    _ = @import("vectors_test.zig");
}
