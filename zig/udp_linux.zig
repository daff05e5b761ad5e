//! The UDP socket of a device: one dual-stack socket, opened and probed for its offloads, and whole
//! batches through it: recvmmsg into buffers that the batch owns, sendmmsg from the caller's bytes.
//! Makes system calls and turns addresses into sockaddrs and back; what control messages and
//! datagrams say is read elsewhere. Always holds: the descriptor never blocks, and everything but
//! `open` and `close` may be called from several threads (a ReceiveBatch belongs to one).
const std = @import("std");
const abi = @import("abi.zig");
const constants = @import("constants.zig");
const system_errno = @import("system_errno.zig");
const linux = std.os.linux;
const fail = system_errno.fail;
const assert = std.debug.assert;
const iovec_const = std.posix.iovec_const;

/// Asked for in each direction; the kernel doubles it for its own overhead.
pub const socket_buffer_bytes: c_int = 7 << 20;
/// Messages handed to the kernel in one sendmmsg: their headers stand on the stack.
pub const send_call_messages: usize = 64;
/// Control bytes of one received datagram: GRO 24, two packet-information messages 40 and 32,
/// traffic class 24, and room to spare.
pub const receive_control_bytes: usize = 256;
pub const receive_buffer_bytes: usize = 64 * 1024;
/// A full socket answers AGAIN.
pub const send_flags: u32 = linux.MSG.DONTWAIT | linux.MSG.NOSIGNAL;

pub const OpenError = error{ PermissionDenied, AddressInUse, System };
pub const ReceiveError = error{ WouldBlock, System };
pub const SendError = error{ WouldBlock, System };

pub const Options = struct {
    /// false: no UDP_GRO, and segments_max stays 0.
    offload: bool = true,
    /// false: an AF_INET socket, as where IPv6 does not exist.
    ipv6: bool = true,
    /// To join sockets of this user that share the port (SO_REUSEPORT). Not with port 0: among the free ones
    /// the kernel then counts those that others share.
    shared: bool = false,
    /// Only for what is no data: nothing is told of traffic classes, and of what was lost only when asked
    /// (`lost`), since each control message costs as much as the rest of a small datagram's copying.
    handshakes: bool = false,
    /// What may wait to be received.
    receive_buffer_bytes: c_int = socket_buffer_bytes,
};

pub const Udp = struct {
    fd: linux.fd_t,
    /// In host byte order.
    port: u16,
    /// false: IPv6 does not exist here, and the socket is AF_INET.
    dual_stack: bool,
    /// Received datagrams may be many equal ones in a row, with a UDP_GRO control message.
    gro: bool,
    /// Segments that one send may carry; 0 = no UDP_SEGMENT.
    segments_max: u32,
    /// Raised where another socket takes this one's place under the same descriptor.
    generation: std.atomic.Value(u32) = .init(0),
    /// To one remote: messages need no address, and ICMP errors are told here.
    connected: bool = false,

    /// Binds [::]:port for both families, or 0.0.0.0:port where there is no IPv6. Port 0: any free
    /// one. fwmark 0: none.
    pub fn open(requested_port: u16, fwmark: u32, options: Options) OpenError!Udp {
        var dual_stack = options.ipv6;
        assert(!options.shared or requested_port != 0);
        const fd = try openEither(&dual_stack);
        errdefer _ = linux.close(fd);
        var udp: Udp = .{ .fd = fd, .port = 0, .dual_stack = dual_stack, .gro = false, .segments_max = 0 };

        udp.setBuffers(options.receive_buffer_bytes);
        try if (options.handshakes) udp.setFewOptions() else udp.setOptions();
        if (fwmark != 0) try udp.setMark(fwmark);
        if (options.shared) try require(setOption(fd, linux.SOL.SOCKET, linux.SO.REUSEPORT, 1));
        if (options.offload) {
            udp.gro = setOption(fd, linux.IPPROTO.UDP, linux.UDP.GRO, 1) == .SUCCESS;
            udp.segments_max = probeSegments();
        }
        try udp.bind(requested_port);
        udp.port = try udp.boundPort();
        return udp;
    }

    /// From now on others of this user may bind the same port; nobody could before. Idempotent.
    pub fn share(udp: *const Udp) OpenError!void {
        try require(setOption(udp.fd, linux.SOL.SOCKET, linux.SO.REUSEPORT, 1));
    }

    /// Another socket on the same port, for one remote alone. The kernel prefers it for what that
    /// one sends and keeps the route. `local` of another family: the kernel chooses the address.
    /// Between bind and connect it may be given what is not from the remote.
    pub fn openConnected(udp: *const Udp, remote: abi.Endpoint, local: abi.Endpoint) OpenError!Udp {
        try udp.share();
        const fd = try openSocket(if (udp.dual_stack) linux.AF.INET6 else linux.AF.INET);
        errdefer _ = linux.close(fd);
        var own = udp.*;
        own.fd = fd;
        own.connected = true;
        own.generation = .init(udp.generation.load(.acquire));
        own.setBuffers(socket_buffer_bytes);
        try own.setOptions();
        for ([_]u32{ linux.SO.MARK, linux.SO.BUSY_POLL }) |name| {
            const value = try getOption(udp.fd, name);
            if (value != 0) try require(setOption(fd, linux.SOL.SOCKET, name, value));
        }
        if (udp.gro) try require(setOption(fd, linux.IPPROTO.UDP, linux.UDP.GRO, 1));
        try require(setOption(fd, linux.SOL.SOCKET, linux.SO.REUSEPORT, 1));
        var source = local;
        source.port = udp.port;
        if (local.family == remote.family) try own.bindTo(source) else try own.bind(udp.port);
        const address = socketAddress(remote, udp.dual_stack);
        try require(linux.errno(linux.connect(fd, @ptrCast(&address), address.length())));
        return own;
    }

    pub fn close(udp: *Udp) void {
        _ = linux.close(udp.fd);
        udp.fd = -1;
    }

    /// How long a receive asks the network card before it sleeps, in microseconds; 0 = not at all.
    pub fn setBusyPoll(udp: *const Udp, microseconds: u31) error{ PermissionDenied, System }!void {
        return switch (setOption(udp.fd, linux.SOL.SOCKET, linux.SO.BUSY_POLL, microseconds)) {
            .SUCCESS => {},
            .PERM, .ACCES => |e| fail(e, error.PermissionDenied),
            else => |e| fail(e, error.System),
        };
    }

    /// 0 = no mark.
    pub fn setMark(udp: *const Udp, fwmark: u32) error{ PermissionDenied, System }!void {
        return switch (setOption(udp.fd, linux.SOL.SOCKET, linux.SO.MARK, @bitCast(fwmark))) {
            .SUCCESS => {},
            .PERM, .ACCES => |e| fail(e, error.PermissionDenied),
            else => |e| fail(e, error.System),
        };
    }

    pub fn mark(udp: *const Udp) error{System}!u32 {
        return @bitCast(try getOption(udp.fd, linux.SO.MARK));
    }

    /// Takes what waits, up to constants.receive_batch_messages_max datagrams; returns how many (never
    /// 0). They stay in `batch` until the next call.
    pub fn receiveBatch(udp: *const Udp, batch: *ReceiveBatch) ReceiveError!usize {
        batch.reset();
        while (true) {
            const rc = linux.recvmmsg(udp.fd, &batch.headers, @intCast(batch.wanted), linux.MSG.DONTWAIT, null);
            switch (linux.errno(rc)) {
                .SUCCESS => {
                    assert(rc <= batch.wanted);
                    batch.count = rc;
                    // One more may have been begun.
                    batch.touched = @min(rc + 1, ReceiveBatch.messages_max);
                    batch.adapt();
                    return rc;
                },
                .INTR => continue,
                .AGAIN => {
                    batch.touched = 1;
                    return error.WouldBlock;
                },
                // An ICMP error, told once: what was sent before did not arrive.
                .CONNREFUSED => if (udp.connected) continue else return fail(.CONNREFUSED, error.System),
                else => |e| return fail(e, error.System),
            }
        }
    }

    /// Sends the messages in order, until one fails. The caller deals with that one (`result.sent`
    /// is its place) and calls again with the rest. A `local` that is no address of this machine any
    /// more fails with INVAL or, on newer kernels, NETUNREACH. A segmented send that the path cannot
    /// take fails with MSGSIZE, INVAL (older kernels) or IO (an interface without checksum offload).
    pub fn sendBatch(udp: *const Udp, messages: []const SendMessage) SendResult {
        // Where safety is on, `undefined` is a write: 12 KB for each call.
        @setRuntimeSafety(false);
        var prepared: PreparedSend = undefined;
        return udp.sendPrepared(messages, &prepared);
    }

    fn sendPrepared(udp: *const Udp, messages: []const SendMessage, prepared: *PreparedSend) SendResult {
        var sent: usize = 0;
        while (sent < messages.len) {
            const call = messages[sent..@min(messages.len, sent + send_call_messages)];
            prepared.fill(udp, call);
            // Fewer than asked for means that one failed; its errno comes with the next call.
            const rc = linux.sendmmsg(udp.fd, &prepared.headers, @intCast(call.len), send_flags);
            switch (linux.errno(rc)) {
                .SUCCESS => sent += rc,
                .INTR => continue,
                // As in receiveBatch; this message was not tried yet.
                .CONNREFUSED => if (udp.connected) continue else return .{ .sent = sent, .errno = .CONNREFUSED },
                else => |e| return .{ .sent = sent, .errno = e },
            }
        }
        return .{ .sent = sent, .errno = .SUCCESS };
    }

    /// One datagram. `local` as in SendMessage.
    pub fn sendTo(udp: *const Udp, remote: abi.Endpoint, local: abi.Endpoint, bytes: []const u8) SendError!void {
        return udp.sendMessage(.{
            .remote = remote,
            .local = local,
            .iovecs = &.{.{ .base = bytes.ptr, .len = bytes.len }},
        });
    }

    /// One message alone.
    pub fn sendMessage(udp: *const Udp, message: SendMessage) SendError!void {
        return switch (udp.sendBatch(&.{message}).errno) {
            .SUCCESS => {},
            .AGAIN => error.WouldBlock,
            else => |e| fail(e, error.System),
        };
    }

    /// One message that is to arrive as it is or not at all (IPv4's "don't fragment"), however long the
    /// kernel takes its way to be. False where it is refused: too long for the interface that it leaves by.
    pub fn sendWhole(udp: *const Udp, message: SendMessage) bool {
        udp.setFragmenting(linux.IP.PMTUDISC_PROBE, linux.IPV6.PMTUDISC_PROBE) catch return false;
        const sent = udp.sendMessage(message);
        udp.setFragmenting(linux.IP.PMTUDISC_DONT, linux.IPV6.PMTUDISC_DONT) catch return false;
        sent catch return false;
        return true;
    }

    fn setFragmenting(udp: *const Udp, v4: c_int, v6: c_int) OpenError!void {
        try require(setOption(udp.fd, linux.SOL.IP, linux.IP.MTU_DISCOVER, v4));
        if (udp.dual_stack) try require(setOption(udp.fd, linux.SOL.IPV6, linux.IPV6.MTU_DISCOVER, v6));
    }

    /// Datagrams that found the socket full since it was opened, modulo 2^32.
    pub fn lost(udp: *const Udp) u32 {
        var numbers: [9]u32 = @splat(0);
        var length: linux.socklen_t = @sizeOf(@TypeOf(numbers));
        const drops = 8;
        const SO_MEMINFO = 55;
        const rc = linux.getsockopt(udp.fd, linux.SOL.SOCKET, SO_MEMINFO, std.mem.asBytes(&numbers), &length);
        return if (linux.errno(rc) == .SUCCESS) numbers[drops] else 0;
    }

    /// Waits until the socket takes datagrams again; false when it does not within the time.
    pub fn waitWritable(udp: *const Udp, timeout_ms: u31) bool {
        var polled = [1]linux.pollfd{.{ .fd = udp.fd, .events = linux.POLL.OUT, .revents = 0 }};
        const rc = linux.poll(&polled, 1, timeout_ms);
        return linux.errno(rc) == .SUCCESS and rc == 1;
    }

    /// Whether all that was sent has left the machine, or at least the socket's queue.
    pub fn isDrained(udp: *const Udp) bool {
        var bytes: c_int = 0;
        const rc = linux.ioctl(udp.fd, linux.SIOCOUTQ, @intFromPtr(&bytes));
        return linux.errno(rc) == .SUCCESS and bytes == 0;
    }

    fn setBuffers(udp: *const Udp, receive_bytes: c_int) void {
        setBufferBytes(udp.fd, linux.SO.RCVBUFFORCE, linux.SO.RCVBUF, receive_bytes);
        setBufferBytes(udp.fd, linux.SO.SNDBUFFORCE, linux.SO.SNDBUF, socket_buffer_bytes);
    }

    fn setOptions(udp: *const Udp) OpenError!void {
        const IP = linux.IP;
        const IPV6 = linux.IPV6;
        // As the kernel's WireGuard: what is too long for the path is fragmented, never refused.
        try udp.setFragmenting(IP.PMTUDISC_DONT, IPV6.PMTUDISC_DONT);
        try require(setOption(udp.fd, linux.SOL.IP, IP.RECVTOS, 1));
        try udp.setPacketInformation();
        if (!udp.dual_stack) return;
        try require(setOption(udp.fd, linux.SOL.IPV6, IPV6.RECVTCLASS, 1));
    }

    fn setFewOptions(udp: *const Udp) OpenError!void {
        // What is sent here is never fragmented, and then the kernel needs no number for its fragments.
        try require(setOption(udp.fd, linux.SOL.IP, linux.IP.MTU_DISCOVER, linux.IP.PMTUDISC_PROBE));
        try udp.setPacketInformation();
    }

    /// The address that a datagram came to. A dual-stack socket tells that of IPv4 by IPv6's message.
    fn setPacketInformation(udp: *const Udp) OpenError!void {
        if (!udp.dual_stack) return require(setOption(udp.fd, linux.SOL.IP, linux.IP.PKTINFO, 1));
        try require(setOption(udp.fd, linux.SOL.IPV6, linux.IPV6.V6ONLY, 0));
        try require(setOption(udp.fd, linux.SOL.IPV6, linux.IPV6.RECVPKTINFO, 1));
    }

    fn bind(udp: *const Udp, requested_port: u16) OpenError!void {
        return udp.bindTo(.{ .family = if (udp.dual_stack) 6 else 4, .port = requested_port });
    }

    fn bindTo(udp: *const Udp, local: abi.Endpoint) OpenError!void {
        const address = socketAddress(local, udp.dual_stack);
        switch (linux.errno(linux.bind(udp.fd, @ptrCast(&address), address.length()))) {
            .SUCCESS => {},
            .ADDRINUSE => |e| return fail(e, error.AddressInUse),
            .ACCES, .PERM => |e| return fail(e, error.PermissionDenied),
            else => |e| return fail(e, error.System),
        }
    }

    /// As `port`, for threads other than the one that moves the socket to another port.
    pub fn boundPort(udp: *const Udp) OpenError!u16 {
        var address: SocketAddress = undefined;
        var length: linux.socklen_t = @sizeOf(SocketAddress);
        try require(linux.errno(linux.getsockname(udp.fd, @ptrCast(&address), &length)));
        return endpoint(&address, length).port;
    }
};

pub const SendMessage = struct {
    remote: abi.Endpoint,
    /// The source address; family 0, or another family than remote's: the kernel's choice. Its
    /// scope counts for link-local addresses alone: elsewhere the routing table decides where a
    /// datagram leaves, not where one came in.
    local: abi.Endpoint = .{},
    iovecs: []const iovec_const,
    /// 0 = one datagram; else the bytes are cut into datagrams of this length (the last is shorter
    /// or equal).
    segment_size: u16 = 0,
    /// The outer header's traffic class, ECN included.
    tos: u8 = 0,
    /// To be sent by `sendWhole`.
    whole: bool = false,

    fn header(message: *const SendMessage, address: *SocketAddress, control: *SendControl) linux.msghdr {
        return .{
            .name = @ptrCast(address),
            .namelen = address.length(),
            .iov = @ptrCast(@constCast(message.iovecs.ptr)),
            .iovlen = message.iovecs.len,
            .control = if (control.length == 0) null else &control.bytes,
            .controllen = control.length,
            .flags = 0,
        };
    }
};

/// What the kernel reads of the messages of one call. Points into itself, so it must not move.
pub const PreparedSend = struct {
    headers: [send_call_messages]linux.mmsghdr,
    addresses: [send_call_messages]SocketAddress,
    controls: [send_call_messages]SendControl,

    pub fn fill(prepared: *PreparedSend, udp: *const Udp, messages: []const SendMessage) void {
        for (messages, 0..) |said, i| {
            var message = said;
            // What it was bound to.
            if (udp.connected) message.local = .{};
            prepared.addresses[i] = socketAddress(message.remote, udp.dual_stack);
            prepared.controls[i].write(&message);
            const header = message.header(&prepared.addresses[i], &prepared.controls[i]);
            prepared.headers[i] = .{ .hdr = header, .len = 0 };
            if (!udp.connected) continue;
            prepared.headers[i].hdr.name = null;
            prepared.headers[i].hdr.namelen = 0;
        }
    }
};

pub const SendResult = struct {
    /// How many messages the kernel took.
    sent: usize,
    /// SUCCESS when all of them; else why message number `sent` was not: AGAIN = the socket's
    /// buffer is full, see waitWritable.
    errno: linux.E,
};

pub const ReceivedMessage = struct {
    /// In the batch's buffer, writable so that packets can be opened in place.
    payload: []u8,
    remote: abi.Endpoint,
    /// Control messages as the kernel wrote them: GRO's segment size, the address it came to, the
    /// traffic class.
    control: []align(8) const u8,
    /// MSG_TRUNC: the datagram was longer than its buffer.
    truncated: bool,
    /// MSG_CTRUNC: control messages are missing, perhaps the segment size.
    control_truncated: bool,
};

/// The buffers of one receiving thread. Points into itself after `reset`, so it must not move.
pub const ReceiveBatch = struct {
    const messages_max = constants.receive_batch_messages_max;

    headers: [messages_max]linux.mmsghdr,
    iovecs: [messages_max]std.posix.iovec,
    addresses: [messages_max]SocketAddress,
    controls: [messages_max][receive_control_bytes]u8 align(8),
    /// One buffer of receive_buffer_bytes a message, page aligned.
    buffers: []align(std.heap.page_size_min) u8,
    count: usize,
    /// Headers that a receive may have changed: those behind them are as `reset` left them.
    touched: usize,
    /// How many are asked for.
    wanted: usize,

    pub fn init(batch: *ReceiveBatch, allocator: std.mem.Allocator) error{OutOfMemory}!void {
        const alignment = comptime std.mem.Alignment.fromByteUnits(std.heap.page_size_min);
        batch.buffers = try allocator.alignedAlloc(u8, alignment, messages_max * receive_buffer_bytes);
        batch.count = 0;
        batch.touched = messages_max;
        batch.wanted = constants.receive_batch_messages;
    }

    pub fn deinit(batch: *ReceiveBatch, allocator: std.mem.Allocator) void {
        allocator.free(batch.buffers);
        batch.* = undefined;
    }

    /// Message `index` of the last receiveBatch.
    pub fn message(batch: *ReceiveBatch, index: usize) ReceivedMessage {
        assert(index < batch.count);
        const header = &batch.headers[index];
        assert(header.len <= receive_buffer_bytes);
        assert(header.hdr.controllen <= receive_control_bytes);
        const control: [*]align(8) const u8 = @ptrCast(@alignCast(header.hdr.control.?));
        return .{
            .payload = batch.iovecs[index].base[0..header.len],
            .remote = endpoint(@ptrCast(@alignCast(header.hdr.name.?)), header.hdr.namelen),
            .control = control[0..header.hdr.controllen],
            .truncated = header.hdr.flags & linux.MSG.TRUNC != 0,
            .control_truncated = header.hdr.flags & linux.MSG.CTRUNC != 0,
        };
    }

    /// Of message `index` the bytes alone.
    pub fn payloadOf(batch: *const ReceiveBatch, index: usize) []const u8 {
        assert(index < batch.count);
        return batch.iovecs[index].base[0..batch.headers[index].len];
    }

    /// Many where most were small; few where they are large, which stay in the cache until they are
    /// opened.
    fn adapt(batch: *ReceiveBatch) void {
        var small: usize = 0;
        for (batch.headers[0..batch.count]) |*header| {
            if (header.len < constants.receive_small_bytes) small += 1;
        }
        const flood = batch.count >= constants.receive_batch_messages and 2 * small > batch.count;
        batch.wanted = if (flood) messages_max else constants.receive_batch_messages;
    }

    /// Appends a datagram that another way than recvmmsg brought, where it lies.
    pub fn put(batch: *ReceiveBatch, header: linux.msghdr, payload: []u8) void {
        batch.iovecs[batch.count] = .{ .base = payload.ptr, .len = payload.len };
        batch.headers[batch.count] = .{ .hdr = header, .len = @intCast(payload.len) };
        batch.headers[batch.count].hdr.iov = @ptrCast(&batch.iovecs[batch.count]);
        batch.touched = messages_max;
        batch.count += 1;
    }

    /// The kernel changes lengths and flags, so all are set again; and the control areas are
    /// cleared, so that the last datagram's segment size can never be read for the next.
    fn reset(batch: *ReceiveBatch) void {
        batch.count = 0;
        const touched = batch.touched;
        batch.touched = messages_max;
        @memset(std.mem.sliceAsBytes(batch.controls[0..touched]), 0);
        for (batch.headers[0..touched], 0..) |*header, i| {
            batch.iovecs[i] = .{ .base = batch.bufferAt(i), .len = receive_buffer_bytes };
            header.* = .{ .hdr = .{
                .name = @ptrCast(&batch.addresses[i]),
                .namelen = @sizeOf(SocketAddress),
                .iov = @ptrCast(&batch.iovecs[i]),
                .iovlen = 1,
                .control = &batch.controls[i],
                .controllen = receive_control_bytes,
                .flags = 0,
            }, .len = 0 };
        }
    }

    fn bufferAt(batch: *ReceiveBatch, index: usize) *[receive_buffer_bytes]u8 {
        return batch.buffers[index * receive_buffer_bytes ..][0..receive_buffer_bytes];
    }
};

const SocketAddress = extern union {
    family: linux.sa_family_t,
    in: linux.sockaddr.in,
    in6: linux.sockaddr.in6,

    fn length(address: *const SocketAddress) linux.socklen_t {
        return if (address.family == linux.AF.INET) @sizeOf(linux.sockaddr.in) else @sizeOf(linux.sockaddr.in6);
    }
};

/// On a dual-stack socket IPv4 goes as IPv4-mapped IPv6, which is how an Endpoint holds it anyway.
fn socketAddress(from: abi.Endpoint, dual_stack: bool) SocketAddress {
    assert(from.family == 4 or from.family == 6);
    if (from.family == 4 and !dual_stack) return .{ .in = .{
        .port = std.mem.nativeToBig(u16, from.port),
        .addr = @bitCast(from.address[12..16].*),
    } };
    return .{ .in6 = .{
        .port = std.mem.nativeToBig(u16, from.port),
        .flowinfo = 0,
        .addr = from.address,
        .scope_id = if (from.family == 6) from.scope else 0,
    } };
}

/// Family 0 when the kernel gave no address of a known family.
fn endpoint(address: *const SocketAddress, length: linux.socklen_t) abi.Endpoint {
    if (length >= @sizeOf(linux.sockaddr.in) and address.family == linux.AF.INET) {
        return .{
            .address = mapped_prefix ++ @as([4]u8, @bitCast(address.in.addr)),
            .port = std.mem.bigToNative(u16, address.in.port),
            .family = 4,
        };
    }
    if (length < @sizeOf(linux.sockaddr.in6) or address.family != linux.AF.INET6) return .{};
    const is_mapped = std.mem.eql(u8, address.in6.addr[0..12], &mapped_prefix);
    return .{
        .address = address.in6.addr,
        .scope = if (is_mapped) 0 else address.in6.scope_id,
        .port = std.mem.bigToNative(u16, address.in6.port),
        .family = if (is_mapped) 4 else 6,
    };
}

const mapped_prefix: [12]u8 = @as([10]u8, @splat(0)) ++ [2]u8{ 0xff, 0xff };

/// The control messages of one send. To an IPv4 destination the kernel reads those of SOL_IP, on a
/// dual-stack socket too, and passes over IPV6_TCLASS (ip_cmsg_send in net/ipv4/ip_sockglue.c).
const SendControl = struct {
    bytes: [capacity]u8 align(8),
    length: usize,

    const capacity = space(20) + space(4) + space(2);

    fn write(control: *SendControl, message: *const SendMessage) void {
        control.length = 0;
        if (message.local.family == message.remote.family) control.putSource(message.local);
        if (message.tos != 0) {
            const tos: c_int = message.tos;
            if (message.remote.family == 4) {
                control.put(linux.SOL.IP, linux.IP.TOS, std.mem.asBytes(&tos));
            } else {
                control.put(linux.SOL.IPV6, linux.IPV6.TCLASS, std.mem.asBytes(&tos));
            }
        }
        if (message.segment_size != 0) {
            control.put(linux.IPPROTO.UDP, linux.UDP.SEGMENT, std.mem.asBytes(&message.segment_size));
        }
    }

    /// struct in_pktinfo {int ifindex; in_addr spec_dst, addr} and in6_pktinfo {in6_addr; u32
    /// ifindex}.
    fn putSource(control: *SendControl, local: abi.Endpoint) void {
        if (local.family == 4) {
            var information: [12]u8 = @splat(0);
            information[4..8].* = local.address[12..16].*;
            control.put(linux.SOL.IP, linux.IP.PKTINFO, &information);
        } else {
            var information: [20]u8 = @splat(0);
            information[0..16].* = local.address;
            if (isLinkLocal(local.address)) std.mem.writeInt(u32, information[16..20], local.scope, .native);
            control.put(linux.SOL.IPV6, linux.IPV6.PKTINFO, &information);
        }
    }

    fn put(control: *SendControl, level: i32, kind: i32, value: []const u8) void {
        const header: linux.cmsghdr = .{ .len = @sizeOf(linux.cmsghdr) + value.len, .level = level, .type = kind };
        const area = control.bytes[control.length..][0..space(value.len)];
        @memset(area, 0);
        @memcpy(area[0..@sizeOf(linux.cmsghdr)], std.mem.asBytes(&header));
        @memcpy(area[@sizeOf(linux.cmsghdr)..][0..value.len], value);
        control.length += area.len;
    }

    fn space(value_bytes: usize) usize {
        return @sizeOf(linux.cmsghdr) + std.mem.alignForward(usize, value_bytes, linux.cmsg_align);
    }
};

fn isLinkLocal(address: [16]u8) bool {
    return address[0] == 0xfe and address[1] & 0xc0 == 0x80;
}

/// `dual_stack` turns false where the kernel has no IPv6.
fn openEither(dual_stack: *bool) OpenError!linux.fd_t {
    if (dual_stack.*) {
        return openSocket(linux.AF.INET6) catch |failure| {
            if (system_errno.last() != .AFNOSUPPORT) return failure;
            dual_stack.* = false;
            return openSocket(linux.AF.INET);
        };
    }
    return openSocket(linux.AF.INET);
}

fn openSocket(family: u32) OpenError!linux.fd_t {
    const rc = linux.socket(family, linux.SOCK.DGRAM | linux.SOCK.CLOEXEC | linux.SOCK.NONBLOCK, linux.IPPROTO.UDP);
    try require(linux.errno(rc));
    return @intCast(rc);
}

/// With CAP_NET_ADMIN beyond net.core.rmem_max, else up to it: smaller buffers are no failure.
fn setBufferBytes(fd: linux.fd_t, forced: u32, allowed: u32, bytes: c_int) void {
    if (setOption(fd, linux.SOL.SOCKET, forced, bytes) == .SUCCESS) return;
    _ = setOption(fd, linux.SOL.SOCKET, allowed, bytes);
}

/// How many segments the kernel takes in one send: constants.udp_segments_max or _old, 0 when
/// UDP_SEGMENT is unknown. The limit is not to be read anywhere, so a throw-away socket sends
/// itself more segments than the old limit over loopback; nothing waits for them to arrive. Where
/// loopback does not answer, the old limit is right for every kernel.
fn probeSegments() u32 {
    const fd = openSocket(linux.AF.INET) catch return 0;
    defer _ = linux.close(fd);
    if (setOption(fd, linux.IPPROTO.UDP, linux.UDP.SEGMENT, 0) != .SUCCESS) return 0;
    const probe: Udp = .{ .fd = fd, .port = 0, .dual_stack = false, .gro = false, .segments_max = 0 };
    var self: abi.Endpoint = .{ .address = mapped_prefix ++ [4]u8{ 127, 0, 0, 1 }, .family = 4 };
    const address = socketAddress(self, false);
    if (linux.errno(linux.bind(fd, @ptrCast(&address), address.length())) != .SUCCESS) {
        return constants.udp_segments_max_old;
    }
    self.port = probe.boundPort() catch return constants.udp_segments_max_old;
    const bytes: [constants.udp_segments_max]u8 = @splat(0);
    const result = probe.sendBatch(&.{.{
        .remote = self,
        .iovecs = &.{.{ .base = &bytes, .len = bytes.len }},
        .segment_size = 1,
    }});
    return if (result.errno == .SUCCESS) constants.udp_segments_max else constants.udp_segments_max_old;
}

fn setOption(fd: linux.fd_t, level: i32, name: u32, value: c_int) linux.E {
    return linux.errno(linux.setsockopt(fd, level, name, std.mem.asBytes(&value), @sizeOf(c_int)));
}

fn getOption(fd: linux.fd_t, name: u32) error{System}!c_int {
    var value: c_int = 0;
    var length: linux.socklen_t = @sizeOf(c_int);
    try require(linux.errno(linux.getsockopt(fd, linux.SOL.SOCKET, name, std.mem.asBytes(&value), &length)));
    return value;
}

fn require(e: linux.E) error{System}!void {
    if (e != .SUCCESS) return fail(e, error.System);
}

comptime {
    assert(@sizeOf(usize) == 8 and linux.cmsg_align == 8);
    assert(receive_control_bytes % 8 == 0);
    assert(receive_buffer_bytes >= constants.udp_payload_bytes_max);
    assert(SendControl.capacity == 40 + 24 + 24);
}

test "an endpoint survives the way through a socket address, IPv4 as itself and as mapped IPv6" {
    const four: abi.Endpoint = .{ .address = mapped_prefix ++ [4]u8{ 192, 0, 2, 7 }, .port = 51820, .family = 4 };
    const six: abi.Endpoint = .{ .address = @as([15]u8, @splat(0x20)) ++ .{1}, .port = 9, .scope = 3, .family = 6 };
    for ([_]struct { abi.Endpoint, bool, u16 }{
        .{ four, true, linux.AF.INET6 }, .{ four, false, linux.AF.INET }, .{ six, true, linux.AF.INET6 },
    }) |case| {
        const address = socketAddress(case[0], case[1]);
        try std.testing.expectEqual(case[2], address.family);
        try std.testing.expectEqual(case[0], endpoint(&address, address.length()));
        try std.testing.expectEqual(abi.Endpoint{}, endpoint(&address, address.length() - 1));
    }
}

test "control messages of a send: source, traffic class and segment size, each only when asked for" {
    const four: abi.Endpoint = .{ .address = mapped_prefix ++ [4]u8{ 192, 0, 2, 7 }, .port = 1, .scope = 5, .family = 4 };
    const six: abi.Endpoint = .{ .address = .{ 0xfe, 0x80 } ++ @as([14]u8, @splat(1)), .port = 1, .scope = 5, .family = 6 };
    var control: SendControl = undefined;
    control.write(&.{ .remote = four, .iovecs = &.{} });
    try std.testing.expectEqual(0, control.length);
    control.write(&.{ .remote = four, .local = six, .iovecs = &.{} });
    try std.testing.expectEqual(0, control.length);

    control.write(&.{ .remote = six, .local = six, .iovecs = &.{}, .segment_size = 1452, .tos = 3 });
    try std.testing.expectEqual(SendControl.capacity, control.length);
    try std.testing.expectEqual(36, std.mem.readInt(u64, control.bytes[0..8], .native));
    try std.testing.expectEqual(5, std.mem.readInt(u32, control.bytes[32..36], .native));
    control.write(&.{ .remote = four, .local = four, .iovecs = &.{}, .tos = 3 });
    try std.testing.expectEqual(32 + 24, control.length);
    try std.testing.expectEqualSlices(u8, &.{ 0, 0, 0, 0, 192, 0, 2, 7 }, control.bytes[16..24]);
}
