//! One device: the owner of the TUN, the socket, the tables, the two packet threads and the UAPI
//! server. Everything here is called by the control plane's one thread; nothing else changes the
//! tables (`apply`).
const std = @import("std");
const linux = std.os.linux;
const assert = std.debug.assert;
const Allocator = std.mem.Allocator;
const abi = @import("abi.zig");
const aead = @import("aead_dispatch.zig");
const connected_socket = @import("connected_socket.zig");
const constants = @import("constants.zig");
const crypto = @import("crypto.zig");
const inner_packet = @import("inner_packet.zig");
const lane_ = @import("lane.zig");
const metrics = @import("metrics.zig");
const netlink = @import("netlink.zig");
const policy = @import("policy.zig");
const stun_filter = @import("stun_filter.zig");
const system_errno = @import("system_errno.zig");
const tables_ = @import("tables.zig");
const tun_linux = @import("tun_linux.zig");
const udp_group = @import("udp_group.zig");
const udp_linux = @import("udp_linux.zig");
const uring_use = @import("uring_use.zig");
const uapi = @import("uapi.zig");
const Peer = @import("peer.zig").Peer;
const Rx = @import("rx.zig").Rx;
const Tables = tables_.Tables;
const Tx = @import("tx.zig").Tx;

/// The two threads of a lane and what they alone read and write.
const PacketPath = struct {
    tx: *Tx,
    rx: *Rx,
    tun: ?tun_linux.Tun,
};

/// Of the thread that opens, as errno is.
threadlocal var open_failure: abi.OpenFailure = .{};

pub const Device = struct {
    allocator: Allocator,
    tables: Tables,
    /// One for each lane; so are the sockets.
    paths: [constants.lanes_max]PacketPath = undefined,
    paths_count: u8 = 0,
    sockets: udp_group.Group,
    udp_offload: bool,
    fwmark: u32,
    io_uring: uring_use.Use = .{},
    connected: connected_socket.Sockets = .{},
    busy_poll_us: u31 = 0,
    crypto_workers: u32,
    /// The first queue of the TUN.
    tun: ?tun_linux.Tun = null,
    netlink: ?netlink.Netlink = null,
    monitor: ?netlink.Monitor = null,
    uapi: ?*uapi.Server = null,
    /// Counts what the control thread and the UAPI thread do.
    counters: metrics.Counters = .{},
    uapi_counters: metrics.Counters = .{},
    stopping: std.atomic.Value(bool) = .init(false),
    /// Two for each lane, while they run.
    threads: [2 * constants.lanes_max]std.Thread = undefined,
    threads_count: usize = 0,

    /// Makes the TUN and binds the socket; no thread runs yet.
    pub fn open(allocator: Allocator, config: *const abi.Config, out: *?*Device) abi.Error {
        out.* = openInner(allocator, config) catch |err| {
            open_failure.system_errno = system_errno.lastNumber();
            return toAbiCode(err);
        };
        return .ok;
    }

    /// Of the last `open` on this thread that failed.
    pub fn openFailure() abi.OpenFailure {
        return open_failure;
    }

    /// What fails from here on is about that.
    fn opening(step: abi.OpenStep) void {
        open_failure = .{ .step = step };
        system_errno.clear();
    }

    fn openInner(allocator: Allocator, config: *const abi.Config) !*Device {
        opening(.none);
        if (config.listen_port > 65_535) return error.InvalidArgument;
        if (config.mtu < constants.mtu_min or config.mtu > constants.mtu_max)
            return error.InvalidArgument;
        const lanes = @max(1, config.lanes);
        if (config.crypto_workers > constants.crypto_workers_max) return error.InvalidArgument;
        if (lanes > constants.lanes_max or !std.math.isPowerOfTwo(lanes))
            return error.InvalidArgument;
        opening(.cipher);
        try crypto.init();
        try aead.setMode(switch (config.cipher) {
            .auto => .auto,
            .batch => .batch,
            .libsodium => .libsodium,
            .avx2 => .avx2,
            _ => return error.InvalidArgument,
        });
        const self = try allocator.create(Device);
        errdefer allocator.destroy(self);
        const udp_offload = config.flags & abi.config_flag_no_udp_offload == 0;
        self.* = .{
            .allocator = allocator,
            .tables = undefined,
            .sockets = undefined,
            .udp_offload = udp_offload,
            .fwmark = config.fwmark,
            .crypto_workers = config.crypto_workers,
        };
        try self.openInterface(config, lanes > 1);
        errdefer self.closeInterface();
        opening(.udp);
        // A ring has one socket to receive from.
        const apart = config.io_uring == .auto or config.io_uring == .off;
        self.sockets = try .open(
            @intCast(lanes),
            apart,
            @intCast(config.listen_port),
            config.fwmark,
            .{ .offload = udp_offload },
        );
        errdefer self.sockets.close();
        opening(.tables);
        try self.tables.init(allocator, config.mtu, @intCast(lanes));
        errdefer self.tables.deinit();
        errdefer self.closePaths();
        opening(.ways);
        try self.openWays(config, lanes == 1);
        opening(.lanes);
        for (0..lanes) |number| try self.openPath(@intCast(number));
        if (self.tun != null) self.limitSuperPackets();
        opening(.uapi);
        if (config.flags & abi.config_flag_uapi != 0)
            self.uapi = try .open(allocator, self.interfaceName(), .{
                .notify = .{ .context = self, .call = uapiNotify },
            });
        return self;
    }

    fn openInterface(self: *Device, config: *const abi.Config, queues: bool) !void {
        if (config.flags & abi.config_flag_no_tun != 0) return;
        const name = std.mem.sliceTo(&config.interface_name, 0);
        const offload = config.flags & abi.config_flag_no_tun_offload == 0;
        opening(.tun);
        self.tun = try .open(name, .{ .offload = offload, .queues = queues });
        errdefer self.closeInterface();
        opening(.netlink);
        self.netlink = try .open();
        self.monitor = try .open();
        opening(.mtu);
        try self.netlink.?.setMtu(self.tun.?.interface_index, config.mtu);
    }

    fn closeInterface(self: *Device) void {
        if (self.monitor) |*monitor| monitor.close();
        if (self.netlink) |*connection| connection.close();
        if (self.tun) |*tun| tun.close();
        self.monitor = null;
        self.netlink = null;
        self.tun = null;
    }

    fn openPath(self: *Device, number: u8) !void {
        const tx: *Tx = try .create(self.allocator, &self.tables, number);
        errdefer tx.destroy(self.allocator);
        const rx: *Rx = try .create(self.allocator, &self.tables, number);
        errdefer rx.destroy(self.allocator);
        const path = &self.paths[number];
        path.* = .{ .tx = tx, .rx = rx, .tun = null };
        if (self.tun) |*tun| path.tun = if (number == 0) tun.* else try tun.openQueue();
        self.paths_count += 1;
        tx.udp = &self.sockets.members[number];
        tx.stopping = &self.stopping;
        rx.udp = &self.sockets.members[number];
        rx.stopping = &self.stopping;
        rx.transmit = tx;
        tx.connected = &self.connected;
        rx.connected = &self.connected;
        tx.outbound.use = &self.io_uring;
        rx.inbound.use = &self.io_uring;
        if (number == 0) rx.aside.open(&self.sockets);
        const tun = if (path.tun) |*tun| tun else return;
        tx.tun = tun;
        rx.tun = tun;
        rx.coalescer.init(.{ .tcp = tun.offload, .udp = tun.offload_uso });
        if (number > 0) return;
        tx.monitor = &self.monitor.?;
        tx.interface_index = tun.interface_index;
    }

    /// What the operator wants beside the ordinary calls on the sockets.
    fn openWays(self: *Device, config: *const abi.Config, alone: bool) !void {
        if (config.busy_poll_us > constants.busy_poll_us_max) return error.InvalidArgument;
        self.busy_poll_us = @intCast(config.busy_poll_us);
        try self.setBusyPoll(&self.sockets);
        try self.io_uring.decide(self.allocator, config.io_uring, &self.counters);
        self.connected.main = self.udp();
        self.connected.wake_receive = self.tables.lanes[0].wake_receive;
        // A ring has one socket to receive from, and so has each of several lanes.
        const wanted = config.flags & abi.config_flag_connected_sockets != 0;
        self.connected.enabled = wanted and alone and !self.io_uring.inUse();
    }

    fn setBusyPoll(self: *const Device, sockets: *const udp_group.Group) !void {
        if (self.busy_poll_us == 0) return;
        for (sockets.members[0..sockets.count]) |*member| try member.setBusyPoll(self.busy_poll_us);
    }

    fn closePaths(self: *Device) void {
        for (self.paths[0..self.paths_count], 0..) |*path, number| {
            path.tx.destroy(self.allocator);
            path.rx.destroy(self.allocator);
            // The first queue is the interface's own.
            if (number > 0) if (path.tun) |*tun| tun.close();
        }
        self.paths_count = 0;
    }

    /// Asks the kernel for super-packets that fit one segmented send, or each would go out as a
    /// full send and a small rest.
    fn limitSuperPackets(self: *Device) void {
        const tun = &self.tun.?;
        const segments_max = self.udp().segments_max;
        if (!tun.offload or segments_max < 2) return;
        const mtu = self.tables.mtu.load(.monotonic);
        const sealed = inner_packet.paddedLength(mtu, mtu) + constants.transport_overhead_bytes;
        const fitting: u32 = @intCast(constants.udp_payload_bytes_max / sealed);
        const segments = @max(1, @min(fitting, segments_max));
        // IPv4 and TCP with timestamps; what the kernel takes off for headers (MAX_TCP_HEADER), and
        // less than one segment to spare.
        const payload = mtu -| 52;
        const bytes = @min(constants.ip_packet_bytes_max, segments * payload + 320 + payload / 2);
        // Only a matter of speed: where the kernel refuses, everything works as it did.
        self.netlink.?.setGsoMaxSize(tun.interface_index, bytes) catch return;
    }

    pub fn close(self: *Device) void {
        self.stop();
        if (self.uapi) |server| server.close();
        self.closePaths();
        self.tables.deinit();
        self.connected.close();
        self.sockets.close();
        self.closeInterface();
        self.allocator.destroy(self);
    }

    pub fn start(self: *Device) abi.Error {
        if (self.threads_count > 0) return .wrong_state;
        self.stopping.store(false, .release);
        for (self.paths[0..self.paths_count]) |*path| {
            path.tx.crypto_queue.start(self.crypto_workers) catch return self.startFailed();
            path.rx.crypto_queue.start(self.crypto_workers) catch return self.startFailed();
            self.spawn(Tx.run, path.tx) catch return self.startFailed();
            self.spawn(Rx.run, path.rx) catch return self.startFailed();
        }
        return .ok;
    }

    fn spawn(self: *Device, comptime run: anytype, thread: anytype) !void {
        self.threads[self.threads_count] = try .spawn(.{}, run, .{thread});
        self.threads_count += 1;
    }

    fn startFailed(self: *Device) abi.Error {
        self.stop();
        return .out_of_memory;
    }

    /// Returns when no packet thread runs any more.
    pub fn stop(self: *Device) void {
        self.stopping.store(true, .release);
        for (self.tables.lanes) |*lane| {
            lane_.wake(lane.wake_transmit);
            lane_.wake(lane.wake_receive);
        }
        for (self.threads[0..self.threads_count]) |thread| thread.join();
        self.threads_count = 0;
        for (self.paths[0..self.paths_count]) |*path| {
            path.tx.crypto_queue.stop();
            path.rx.crypto_queue.stop();
        }
    }

    /// The first lane's socket, which is the control plane's too.
    fn udp(self: *const Device) *const udp_linux.Udp {
        return &self.sockets.members[0];
    }

    pub fn interfaceName(self: *const Device) []const u8 {
        return if (self.tun) |*tun| tun.name() else "";
    }

    pub fn info(self: *const Device) abi.DeviceInfo {
        var out: abi.DeviceInfo = .{
            .listen_port = self.udp().port,
            .mtu = self.tables.mtu.load(.monotonic),
            .segments_max = self.udp().segments_max,
            .lanes = self.paths_count,
            .crypto_workers = self.crypto_workers,
            .io_uring = self.io_uring.state.load(.monotonic),
            .io_uring_errno = self.io_uring.errno.load(.monotonic),
            .connected_sockets = self.connected.count(),
        };
        const cipher = aead.name();
        @memcpy(out.cipher[0..cipher.len], cipher);
        if (self.udp().segments_max > 1) out.flags |= abi.device_flag_udp_segmentation;
        if (self.udp().gro) out.flags |= abi.device_flag_udp_gro;
        if (self.tun) |*tun| {
            out.interface_name = tun.interface_name;
            out.interface_index = tun.interface_index;
            if (tun.offload) out.flags |= abi.device_flag_tun_offload;
            if (tun.offload_uso) out.flags |= abi.device_flag_tun_uso;
        }
        return out;
    }

    /// Commands in order; each has its own status.
    pub fn apply(self: *Device, commands: []const abi.Command, statuses: []abi.Status) void {
        assert(commands.len == statuses.len);
        var locked = false;
        for (commands, statuses) |*command, *status| {
            status.* = .{};
            // System calls may take long, and no table is theirs.
            if (isSystemCommand(command.kind)) {
                if (locked) self.tables.lock.leaveAll();
                locked = false;
            } else if (!locked) {
                self.tables.lock.enterAll();
                locked = true;
            }
            self.applyOne(command, status) catch |err| {
                status.code = -@as(i32, @backingInt(toAbiCode(err)));
                if (isSystemCommand(command.kind)) status.system_errno = system_errno.lastNumber();
            };
        }
        if (locked) self.tables.lock.leaveAll();
    }

    /// The whole policy, in place of what was there.
    pub fn setPolicy(
        self: *Device,
        rules: []const abi.PolicyRule,
        named: policy.Named,
        flags: u32,
    ) error{OutOfMemory}!void {
        var seed: [16]u8 = undefined;
        crypto.random(&seed);
        const keeps_flows = flags & abi.policy_flag_keep_flows != 0 and self.tables.policy.flows != null;
        self.tables.lock.enterAll();
        defer self.tables.lock.leaveAll();
        const default_allow = flags & abi.policy_flag_default_allow != 0;
        try self.tables.policy.set(self.allocator, rules, named, default_allow, if (keeps_flows) null else seed);
    }

    pub fn setDestinations(self: *Device, prefixes: []const abi.Prefix) error{OutOfMemory}!void {
        self.tables.lock.enterAll();
        defer self.tables.lock.leaveAll();
        try self.tables.destinations.set(self.allocator, prefixes);
    }

    fn isSystemCommand(kind: abi.CommandKind) bool {
        return switch (kind) {
            .listen_port_set, .fwmark_set, .mtu_set, .link_up, .side_sockets_open => true,
            .address_add, .address_remove, .route_add, .route_remove, .rule_add, .rule_remove => true,
            else => false,
        };
    }

    fn applyOne(self: *Device, command: *const abi.Command, status: *abi.Status) !void {
        const tables = &self.tables;
        switch (command.kind) {
            .peer_add => try tables.addPeer(command.peer, &command.key),
            .peer_remove => tables.removePeer(try tables.peerAt(command.peer)),
            .peer_endpoint_set => try self.setEndpoint(command),
            .handshake_received => try self.countHandshakeReceived(command),
            .peer_keepalive_set => try self.setKeepalive(command),
            .allowed_ip_add => {
                const peer = try tables.peerAt(command.peer);
                try tables.allowIp(&self.counters, peer, try prefixOf(&command.prefix));
            },
            .destinations_await => try tables.awaitPrefix(try prefixOf(&command.prefix)),
            .destination_refuse => try tables.refuseAwaited(try prefixOf(&command.prefix), tables_.nowNs()),
            .allowed_ip_remove => {
                const peer = try tables.peerAt(command.peer);
                _ = tables.allowed_ips.remove(try prefixOf(&command.prefix), peer.ref.slot);
            },
            .allowed_ips_clear => {
                const peer = try tables.peerAt(command.peer);
                _ = tables.allowed_ips.removeOwner(peer.ref.slot);
            },
            .keypair_install => try self.installKeypair(command),
            .keypairs_drop => tables.dropKeypairs(try tables.peerAt(command.peer)),
            .staged_drop => tables.dropStaged(try tables.peerAt(command.peer)),
            .local_key_set => tables.gate.setLocalKey(&command.key),
            .introduction_key_set => tables.gate.setIntroductionKey(&command.key),
            .peer_member_set => {
                const peer = try tables.peerAt(command.peer);
                try tables.relay.add(self.allocator, command.number, peer.ref.slot);
                peer.member = command.number;
            },
            .relay_set => {
                tables.relay.own = command.number;
                tables.relay.bytes_per_second = @as(u64, command.local_index) * 1024;
            },
            .stun_expect => tables.stun.expect(
                command.key[0..stun_filter.id_bytes],
                tables_.nowNs() + command.number * constants.ns_per_ms,
            ),
            .peer_mtu_set => {
                if (command.number > constants.mtu_max) return error.InvalidArgument;
                const peer = try tables.peerAt(command.peer);
                peer.path_mtu = @intCast(command.number);
            },
            .side_sockets_close => status.value = tables.closeSideSockets(),
            else => try self.applySystem(command, status),
        }
    }

    fn applySystem(self: *Device, command: *const abi.Command, status: *abi.Status) !void {
        switch (command.kind) {
            .listen_port_set => {
                if (command.number > 65_535) return error.InvalidArgument;
                try self.rebind(@intCast(command.number));
                status.value = self.udp().port;
                return;
            },
            .fwmark_set => {
                if (command.number > std.math.maxInt(u32)) return error.InvalidArgument;
                try self.sockets.setMark(@intCast(command.number));
                self.fwmark = @intCast(command.number);
                self.socketsChanged();
                return;
            },
            .side_sockets_open => {
                try self.tables.side.open(self.fwmark, .{ .offload = self.udp_offload });
                status.value = self.tables.side.count();
                lane_.wake(self.tables.lanes[0].wake_receive);
                return;
            },
            else => {},
        }
        const connection = if (self.netlink) |*open_connection| open_connection else return error.NoTun;
        const index = self.tun.?.interface_index;
        switch (command.kind) {
            .mtu_set => {
                if (command.number < constants.mtu_min or command.number > constants.mtu_max)
                    return error.InvalidArgument;
                try connection.setMtu(index, @intCast(command.number));
                self.tables.mtu.store(@intCast(command.number), .monotonic);
                self.limitSuperPackets();
            },
            .link_up => try connection.linkUp(index),
            .address_add => try connection.addressAdd(index, command.prefix),
            .address_remove => try connection.addressRemove(index, command.prefix),
            .route_add => try connection.routeAddIn(index, command.prefix, command.number),
            .route_remove => try connection.routeRemoveIn(index, command.prefix, command.number),
            .rule_add => try connection.ruleAdd(try .of(command, self.fwmark)),
            .rule_remove => try connection.ruleRemove(try .of(command, self.fwmark)),
            else => return error.InvalidArgument,
        }
    }

    fn setEndpoint(self: *Device, command: *const abi.Command) !void {
        const peer = try self.tables.peerAt(command.peer);
        const family = command.remote.family;
        const known = family == 0 or family == 4 or family == 6 or family == constants.family_relay;
        if (!known) return error.InvalidArgument;
        peer.path.store(.{ .remote = command.remote, .local = command.local });
        peer.unsegmented_until_ns = 0;
        // Packets that waited for more than a keypair.
        if (peer.staging != null or peer.confirm_owed.load(.monotonic)) self.tables.attend(peer);
    }

    fn countHandshakeReceived(self: *Device, command: *const abi.Command) !void {
        const peer = try self.tables.peerAt(command.peer);
        peer.received(tables_.nowNs(), false);
        _ = peer.rx_bytes.fetchAdd(command.number, .monotonic);
        _ = peer.rx_packets.fetchAdd(1, .monotonic);
    }

    fn setKeepalive(self: *Device, command: *const abi.Command) !void {
        if (command.number > 65_535) return error.InvalidArgument;
        const peer = try self.tables.peerAt(command.peer);
        peer.keepalive_interval_ns = command.number * constants.ns_per_s;
        lane_.wake(self.laneOf(peer.ref).wake_transmit);
    }

    fn installKeypair(self: *Device, command: *const abi.Command) !void {
        const peer = self.tables.peerAt(command.peer) catch |err| {
            Tables.releaseSecrets(command);
            return err;
        };
        try self.tables.installKeypair(peer, command, tables_.nowNs());
    }

    /// Another port, under the same descriptor numbers, so that the threads need not be told: a
    /// poll that still waits on an old socket is woken, and lets go of it.
    fn rebind(self: *Device, port: u16) !void {
        if (port != 0 and port == self.udp().port) return;
        const options: udp_linux.Options = .{ .offload = self.udp_offload };
        var fresh: udp_group.Group = try .open(self.paths_count, self.sockets.handshakes != null, port, self.fwmark, options);
        self.setBusyPoll(&fresh) catch |err| {
            fresh.close();
            return err;
        };
        try self.sockets.replace(&fresh);
        self.tables.sources.forget();
        self.socketsChanged();
    }

    /// What was made after the sockets' likeness is to be made anew.
    fn socketsChanged(self: *Device) void {
        for (self.sockets.members[0..self.sockets.count]) |*member| _ = member.generation.fetchAdd(1, .release);
        for (self.tables.lanes) |*lane| {
            lane_.wake(lane.wake_receive);
            lane_.wake(lane.wake_transmit);
        }
    }

    fn laneOf(self: *Device, ref: abi.PeerRef) *lane_.Lane {
        return &self.tables.lanes[self.tables.laneOf(ref.slot)];
    }

    /// Takes datagrams that wait; as many as both buffers hold.
    pub fn receive(self: *Device, datagrams: []abi.Datagram, bytes: []u8) usize {
        var taken: usize = 0;
        var used: usize = 0;
        while (taken < datagrams.len) {
            const slot = self.tables.inbox.peek() orelse break;
            const length = slot.datagram.length;
            if (bytes.len - used < length) break;
            @memcpy(bytes[used..][0..length], slot.bytes[0..length]);
            datagrams[taken] = slot.datagram;
            datagrams[taken].offset = @intCast(used);
            used += length;
            taken += 1;
            self.tables.inbox.pop();
        }
        return taken;
    }

    /// Sends datagrams at once, and hands session messages to the transmit thread. How many were
    /// taken; one that the kernel refuses is counted and taken. Null: a datagram outside the bytes.
    pub fn send(self: *Device, datagrams: []const abi.Datagram, bytes: []const u8) ?usize {
        var wake: std.bit_set.IntegerBitSet(constants.lanes_max) = .empty;
        defer for (self.tables.lanes, 0..) |*lane, number| {
            if (wake.isSet(number)) lane_.wake(lane.wake_transmit);
        };
        for (datagrams) |*datagram| {
            const end = @as(u64, datagram.offset) + datagram.length;
            if (end > bytes.len) return null;
            const message = bytes[datagram.offset..@intCast(end)];
            if (datagram.kind == .session_message) {
                wake.set(self.tables.laneOf(datagram.peer.slot));
                if (!self.laneOf(datagram.peer).outbox.push(datagram.*, message))
                    self.counters.add(.outbox_ring_full, 1);
                continue;
            }
            if (datagram.kind == .response) self.tables.expectDataFrom(&datagram.remote);
            if (!self.sendNow(datagram, message)) {
                self.counters.add(.udp_send_failed, 1);
                continue;
            }
            self.counters.add(.udp_send_calls, 1);
            self.counters.add(.udp_send_datagrams, 1);
            // Only this thread changes the table of peers, so it may read it without the lock.
            const peer = self.tables.peerAt(datagram.peer) catch continue;
            countHandshakeSent(peer, message.len);
        }
        return datagrams.len;
    }

    /// From the address it names, or, where that is no address of ours any more, from another.
    fn sendNow(self: *const Device, datagram: *const abi.Datagram, message: []const u8) bool {
        const family = datagram.remote.family;
        if (family != 4 and family != 6) return false;
        var out: udp_linux.SendMessage = .{
            .remote = datagram.remote,
            .local = datagram.local,
            .iovecs = &.{.{ .base = message.ptr, .len = message.len }},
            .tos = trafficClass(message),
        };
        const socket = self.tables.side.of(&datagram.remote, self.udp());
        socket.sendMessage(out) catch {
            if (datagram.local.family == 0) return false;
            out.local = .{};
            socket.sendMessage(out) catch return false;
        };
        return true;
    }

    /// Handshakes go before data, which waits for them.
    fn trafficClass(message: []const u8) u8 {
        if (message.len < 4) return 0;
        return switch (std.mem.readInt(u32, message[0..4], .little)) {
            constants.message_initiation, constants.message_response => constants.handshake_traffic_class,
            constants.message_introduction => constants.handshake_traffic_class,
            else => 0,
        };
    }

    fn countHandshakeSent(peer: *Peer, length: usize) void {
        _ = peer.tx_bytes.fetchAdd(length, .monotonic);
        _ = peer.tx_packets.fetchAdd(1, .monotonic);
        peer.sent(tables_.nowNs(), false);
    }

    pub fn events(self: *Device, out: []abi.Event) usize {
        return self.tables.events.drain(out);
    }

    /// Arms the doorbell; true where something waits already.
    pub fn arm(self: *Device) bool {
        // The control plane has done its turn, and with it perhaps handshakes.
        crypto.wipeStack();
        self.tables.doorbell.arm();
        if (!self.tables.events.isEmpty() or !self.tables.inbox.isEmpty()) return true;
        const server = self.uapi orelse return false;
        return server.pending();
    }

    pub fn peerStats(self: *Device, out: []abi.PeerStats) usize {
        self.tables.lock.enterAll();
        defer self.tables.lock.leaveAll();
        var count: usize = 0;
        for (self.tables.peers[0..self.tables.peers_end]) |entry| {
            const peer = entry orelse continue;
            if (count == out.len) break;
            out[count] = peer.stats();
            count += 1;
        }
        return count;
    }

    pub fn readCounters(self: *const Device, out: []u64) usize {
        var blocks: [2 * constants.lanes_max + 2]*const metrics.Counters = undefined;
        blocks[0..2].* = .{ &self.counters, &self.uapi_counters };
        for (self.paths[0..self.paths_count], 0..) |*path, number| {
            blocks[2 + 2 * number ..][0..2].* = .{ &path.tx.counters, &path.rx.counters };
        }
        const count = metrics.sum(blocks[0 .. 2 + 2 * @as(usize, self.paths_count)], out);
        const refused = @backingInt(abi.Counter.uapi_refused);
        if (self.uapi) |server| if (refused < count) {
            out[refused] = server.refusedCount();
        };
        return count;
    }

    fn uapiNotify(context: ?*anyopaque, notice: uapi.Notice) void {
        const self: *Device = @ptrCast(@alignCast(context.?));
        self.tables.post(&self.uapi_counters, .{
            .kind = switch (notice) {
                .request => .uapi_request,
                .socket_removed => .link_gone,
            },
            .at_ns = tables_.nowNs(),
        });
    }
};

fn prefixOf(prefix: *const abi.Prefix) error{InvalidArgument}!@import("allowed_ips.zig").Prefix {
    return .{
        .addr = prefix.address,
        .bits = prefix.bits,
        .family = switch (prefix.family) {
            4 => .v4,
            6 => .v6,
            else => return error.InvalidArgument,
        },
    };
}

/// The border's name for an error of any part.
fn toAbiCode(err: anyerror) abi.Error {
    return switch (err) {
        error.InvalidArgument, error.Invalid, error.InvalidName, error.NameInvalid => .invalid_argument,
        error.NoSuchPeer => .no_such_peer,
        error.StalePeer => .stale_peer,
        error.PeerExists => .peer_exists,
        error.Full, error.TableFull => .table_full,
        error.OutOfMemory => .out_of_memory,
        error.NoSuchSecret => .no_such_secret,
        error.AddressInUse => .address_in_use,
        error.PermissionDenied => .permission_denied,
        error.NoTun => .no_tun,
        error.NoSuchLink, error.LinkGone => .link_gone,
        error.InterfaceBusy => .interface_busy,
        error.UapiInUse => .uapi_in_use,
        error.Unavailable => .self_test_failed,
        else => .system,
    };
}
