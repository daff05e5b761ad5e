//! The bytes of rtnetlink: building a request, walking the messages and attributes of an answer,
//! and the few facts of links and routes that the project reads (netlink(7), rtnetlink(7),
//! linux/rtnetlink.h). Pure: no system calls. Always holds: no length from a message is used before
//! it was held against the bytes that are there; what does not fit ends the walk.
const std = @import("std");
const abi = @import("abi.zig");
const linux = std.os.linux;
const assert = std.debug.assert;

pub const NLMSG_ERROR: u16 = 2;
pub const NLMSG_DONE: u16 = 3;
pub const RTM_NEWLINK: u16 = 16;
pub const RTM_DELLINK: u16 = 17;
pub const RTM_GETLINK: u16 = 18;
pub const RTM_NEWADDR: u16 = 20;
pub const RTM_DELADDR: u16 = 21;
pub const RTM_NEWROUTE: u16 = 24;
pub const RTM_DELROUTE: u16 = 25;
pub const RTM_GETROUTE: u16 = 26;
pub const RTM_NEWRULE: u16 = 32;
pub const RTM_DELRULE: u16 = 33;

pub const NLM_F_REQUEST: u16 = 0x001;
pub const NLM_F_ACK: u16 = 0x004;
pub const NLM_F_DUMP: u16 = 0x300;
pub const NLM_F_EXCL: u16 = 0x200;
pub const NLM_F_CREATE: u16 = 0x400;

pub const IFLA_MTU: u16 = 4;
pub const IFLA_GSO_MAX_SEGS: u16 = 40;
pub const IFLA_GSO_MAX_SIZE: u16 = 41;
pub const IFLA_GSO_IPV4_MAX_SIZE: u16 = 63;
pub const IFA_ADDRESS: u16 = 1;
pub const IFA_LOCAL: u16 = 2;
pub const RTA_DST: u16 = 1;
pub const RTA_SRC: u16 = 2;
pub const RTA_OIF: u16 = 4;
pub const RTA_TABLE: u16 = 15;
pub const RTA_MARK: u16 = 16;
pub const RTA_IP_PROTO: u16 = 27;
pub const RTA_SPORT: u16 = 28;
pub const RTA_DPORT: u16 = 29;

const FRA_DST: u16 = 1;
const FRA_GOTO: u16 = 4;
const FRA_PRIORITY: u16 = 6;
const FRA_FWMARK: u16 = 10;
const FRA_SUPPRESS_PREFIXLEN: u16 = 14;
const FRA_TABLE: u16 = 15;
const FRA_FWMASK: u16 = 16;
const FRA_PROTOCOL: u16 = 21;

pub const IFF_UP: u32 = 1;
/// Who made a rule: told apart from the operator's by this number, which nobody else is known to use.
const rule_protocol: u8 = 109;
pub const route_table_main: u32 = 254;

const header_bytes = 16;
const attribute_header_bytes = 4;
const link_bytes = 16;
const address_bytes = 8;
const route_bytes = 12;

/// A request, built front to back. Every request of the project fits.
pub const Request = struct {
    bytes: [bytes_max]u8 align(4) = @splat(0),
    length: usize = header_bytes,

    pub const bytes_max = 256;

    /// RTM_*LINK; struct ifinfomsg. Of the link's flags only those in `change` are set.
    pub fn link(kind: u16, interface_index: u32, flags: u32, change: u32) Request {
        var request: Request = .{};
        const body = request.begin(kind, 0, link_bytes);
        std.mem.writeInt(u32, body[4..8], interface_index, .native);
        std.mem.writeInt(u32, body[8..12], flags, .native);
        std.mem.writeInt(u32, body[12..16], change, .native);
        return request;
    }

    /// RTM_*ADDR; struct ifaddrmsg.
    pub fn address(kind: u16, flags: u16, interface_index: u32, prefix: abi.Prefix) Request {
        var request: Request = .{};
        const ifa_f_nodad = 0x02;
        const body = request.begin(kind, flags, address_bytes);
        body[0] = addressFamily(prefix);
        body[1] = prefix.bits;
        body[2] = if (prefix.family == 6) ifa_f_nodad else 0;
        std.mem.writeInt(u32, body[4..8], interface_index, .native);
        request.put(IFA_LOCAL, addressBytes(&prefix));
        request.put(IFA_ADDRESS, addressBytes(&prefix));
        return request;
    }

    /// RTM_*ROUTE in the main table; struct rtmsg.
    pub fn route(kind: u16, flags: u16, interface_index: u32, prefix: abi.Prefix) Request {
        const rtprot_static = 4;
        const scope_link = 253;
        const scope_any = 255;
        const rtn_unicast = 1;
        var request: Request = .{};
        const body = request.begin(kind, flags, route_bytes);
        body[0] = addressFamily(prefix);
        body[4] = route_table_main;
        if (kind == RTM_NEWROUTE or kind == RTM_DELROUTE) {
            const network = masked(prefix);
            body[1] = prefix.bits;
            body[5] = if (kind == RTM_NEWROUTE) rtprot_static else 0;
            body[6] = if (kind == RTM_NEWROUTE) scope_link else scope_any;
            body[7] = if (kind == RTM_NEWROUTE) rtn_unicast else 0;
            if (prefix.bits != 0) request.put(RTA_DST, addressBytes(&network));
        }
        request.putNumber(RTA_OIF, interface_index);
        return request;
    }

    /// As `route`, in that table, which may have any number.
    pub fn routeIn(kind: u16, flags: u16, interface_index: u32, prefix: abi.Prefix, table: u32) Request {
        var request = Request.route(kind, flags, interface_index, prefix);
        request.bytes[header_bytes + 4] = 0;
        request.putNumber(RTA_TABLE, table);
        return request;
    }

    /// RTM_GETROUTE of one datagram: the route that it would take.
    pub fn way(datagram: Datagram4) Request {
        var request: Request = .{};
        const body = request.begin(RTM_GETROUTE, 0, route_bytes);
        body[0] = linux.AF.INET;
        body[1] = 32;
        body[2] = 32;
        request.put(RTA_DST, &datagram.to);
        request.put(RTA_SRC, &datagram.from);
        if (datagram.mark != 0) request.putNumber(RTA_MARK, datagram.mark);
        // Rules may be of ports.
        request.put(RTA_IP_PROTO, &.{linux.IPPROTO.UDP});
        request.put(RTA_SPORT, &std.mem.toBytes(std.mem.nativeToBig(u16, datagram.from_port)));
        request.put(RTA_DPORT, &std.mem.toBytes(std.mem.nativeToBig(u16, datagram.to_port)));
        return request;
    }

    /// RTM_*RULE; struct fib_rule_hdr, which is laid out as struct rtmsg (linux/fib_rules.h).
    pub fn rule(kind: u16, flags: u16, wanted: Rule) Request {
        const to_table = 1;
        const go_to = 2;
        const nothing = 3;
        var request: Request = .{};
        const body = request.begin(kind, flags, route_bytes);
        body[0] = addressFamily(wanted.prefix);
        body[1] = wanted.prefix.bits;
        // A rule of which only the place is said is of any kind.
        if (!wanted.is_place) {
            body[7] = if (wanted.table != 0) to_table else if (wanted.jump != 0) go_to else nothing;
        }
        const network = masked(wanted.prefix);
        if (wanted.prefix.bits != 0) request.put(FRA_DST, addressBytes(&network));
        request.putNumber(FRA_PRIORITY, wanted.priority);
        if (wanted.jump != 0) request.putNumber(FRA_GOTO, wanted.jump);
        if (wanted.mark != 0) request.putNumber(FRA_FWMARK, wanted.mark);
        // Of the packets' mark no bit counts then: the rule's own only says whose it is.
        if (wanted.mark != 0 and !wanted.is_marked) request.putNumber(FRA_FWMASK, 0);
        if (wanted.suppress) |bits| request.putNumber(FRA_SUPPRESS_PREFIXLEN, bits);
        if (wanted.table != 0) request.putNumber(FRA_TABLE, wanted.table);
        request.put(FRA_PROTOCOL, &.{rule_protocol});
        return request;
    }

    pub fn put(request: *Request, kind: u16, value: []const u8) void {
        const used = attribute_header_bytes + value.len;
        const area = request.bytes[request.length..][0..std.mem.alignForward(usize, used, 4)];
        std.mem.writeInt(u16, area[0..2], @intCast(used), .native);
        std.mem.writeInt(u16, area[2..4], kind, .native);
        @memcpy(area[attribute_header_bytes..used], value);
        request.length += area.len;
    }

    pub fn putNumber(request: *Request, kind: u16, number: u32) void {
        request.put(kind, std.mem.asBytes(&number));
    }

    /// The whole message, numbered.
    pub fn finish(request: *Request, sequence: u32) []const u8 {
        std.mem.writeInt(u32, request.bytes[0..4], @intCast(request.length), .native);
        std.mem.writeInt(u32, request.bytes[8..12], sequence, .native);
        return request.bytes[0..request.length];
    }

    fn begin(request: *Request, kind: u16, flags: u16, comptime body_bytes: usize) *[body_bytes]u8 {
        std.mem.writeInt(u16, request.bytes[4..6], kind, .native);
        std.mem.writeInt(u16, request.bytes[6..8], flags | NLM_F_REQUEST | NLM_F_ACK, .native);
        request.length = header_bytes + body_bytes;
        return request.bytes[header_bytes..][0..body_bytes];
    }
};

/// A UDP datagram over IPv4 that is to be sent.
pub const Datagram4 = struct {
    to: [4]u8,
    from: [4]u8,
    to_port: u16,
    from_port: u16,
    /// 0: none.
    mark: u32 = 0,
};

/// A rule of policy routing, of the family of its prefix.
pub const Rule = struct {
    /// Where packets go to whom it is for; 0 bits: anywhere.
    prefix: abi.Prefix,
    priority: u32,
    /// What is looked up; 0: nothing.
    table: u32 = 0,
    /// Without a table: the priority at which the search goes on; 0: at the next rule.
    jump: u32 = 0,
    /// Of the device that made it, for two may have the same priorities; 0: of none.
    mark: u32 = 0,
    /// Only for packets with that mark; else for all.
    is_marked: bool = false,
    /// Routes of so many bits or fewer do not count.
    suppress: ?u32 = null,
    /// To remove whatever rule of ours is at that priority.
    is_place: bool = false,

    /// As `abi.CommandKind.rule_add` has it; `mark` is that of the device.
    pub fn of(command: *const abi.Command, mark: u32) error{InvalidArgument}!Rule {
        return .{
            .prefix = command.prefix,
            .priority = command.local_index,
            .table = std.math.cast(u32, command.number) orelse return error.InvalidArgument,
            .jump = command.remote_index,
            .mark = mark,
            .is_marked = command.remote_index != 0,
            .suppress = if (command.flags == 0) null else command.flags - 1,
        };
    }
};

pub const Message = struct {
    kind: u16,
    sequence: u32,
    body: []const u8,
};

/// Walks the messages of one received datagram.
pub const Messages = struct {
    rest: []const u8,

    pub fn next(messages: *Messages) ?Message {
        const bytes = messages.rest;
        messages.rest = &.{};
        if (bytes.len < header_bytes) return null;
        const length = std.mem.readInt(u32, bytes[0..4], .native);
        if (length < header_bytes or length > bytes.len) return null;
        messages.rest = bytes[@min(bytes.len, std.mem.alignForward(usize, length, 4))..];
        return .{
            .kind = std.mem.readInt(u16, bytes[4..6], .native),
            .sequence = std.mem.readInt(u32, bytes[8..12], .native),
            .body = bytes[header_bytes..length],
        };
    }
};

const Attribute = struct {
    kind: u16,
    value: []const u8,

    /// null when the value is no 32-bit number.
    fn number(attribute: Attribute) ?u32 {
        if (attribute.value.len != 4) return null;
        return std.mem.readInt(u32, attribute.value[0..4], .native);
    }
};

const Attributes = struct {
    rest: []const u8,

    fn next(attributes: *Attributes) ?Attribute {
        const nested_and_byte_order_flags: u16 = 0xc000;
        const bytes = attributes.rest;
        attributes.rest = &.{};
        if (bytes.len < attribute_header_bytes) return null;
        const length = std.mem.readInt(u16, bytes[0..2], .native);
        if (length < attribute_header_bytes or length > bytes.len) return null;
        attributes.rest = bytes[@min(bytes.len, std.mem.alignForward(usize, length, 4))..];
        return .{
            .kind = std.mem.readInt(u16, bytes[2..4], .native) & ~nested_and_byte_order_flags,
            .value = bytes[attribute_header_bytes..length],
        };
    }
};

/// The verdict in NLMSG_ERROR and NLMSG_DONE: SUCCESS, or why not.
pub fn verdict(body: []const u8) linux.E {
    if (body.len < 4) return .SUCCESS;
    const code = std.mem.readInt(i32, body[0..4], .native);
    if (code == 0) return .SUCCESS;
    if (code > 0 or code < -4095) return .PROTO;
    return @fromBackingInt(@intCast(-code));
}

pub const Link = struct {
    interface_index: u32,
    up: bool,
    /// 0 when the message did not tell, like the next two.
    mtu: u32 = 0,
    /// The longest super-packet that the kernel hands to the interface, in bytes.
    gso_max_size: u32 = 0,
    gso_max_segments: u32 = 0,
};

/// The body of RTM_NEWLINK or RTM_DELLINK. null for what is no link of its own: a message too
/// short, or of another family (a port that leaves its bridge is announced as a link deleted).
pub fn parseLink(body: []const u8) ?Link {
    if (body.len < link_bytes or body[0] != linux.AF.UNSPEC) return null;
    var link: Link = .{
        .interface_index = std.mem.readInt(u32, body[4..8], .native),
        .up = std.mem.readInt(u32, body[8..12], .native) & IFF_UP != 0,
    };
    var attributes: Attributes = .{ .rest = body[link_bytes..] };
    while (attributes.next()) |attribute| switch (attribute.kind) {
        IFLA_MTU => link.mtu = attribute.number() orelse continue,
        IFLA_GSO_MAX_SIZE => link.gso_max_size = attribute.number() orelse continue,
        IFLA_GSO_MAX_SEGS => link.gso_max_segments = attribute.number() orelse continue,
        else => {},
    };
    return link;
}

pub const Route = struct {
    prefix: abi.Prefix,
    table: u32,
    /// 0 when the route names no single interface.
    interface_index: u32 = 0,
};

/// The body of RTM_NEWROUTE; null when it is too short or of a family other than IPv4 and IPv6.
pub fn parseRoute(body: []const u8) ?Route {
    if (body.len < route_bytes) return null;
    const family: u8 = switch (body[0]) {
        linux.AF.INET => 4,
        linux.AF.INET6 => 6,
        else => return null,
    };
    var route: Route = .{ .prefix = .{ .family = family, .bits = body[1] }, .table = body[4] };
    if (!prefixValid(route.prefix)) return null;
    var attributes: Attributes = .{ .rest = body[route_bytes..] };
    while (attributes.next()) |attribute| switch (attribute.kind) {
        RTA_DST => {
            const length: usize = if (family == 4) 4 else 16;
            if (attribute.value.len != length) return null;
            @memcpy(route.prefix.address[0..length], attribute.value);
        },
        RTA_OIF => route.interface_index = attribute.number() orelse continue,
        RTA_TABLE => route.table = attribute.number() orelse continue,
        else => {},
    };
    return route;
}

pub fn prefixValid(prefix: abi.Prefix) bool {
    return (prefix.family == 4 and prefix.bits <= 32) or (prefix.family == 6 and prefix.bits <= 128);
}

/// The prefix with its host bits cleared: the kernel refuses routes that have some.
pub fn masked(prefix: abi.Prefix) abi.Prefix {
    assert(prefixValid(prefix));
    var network = prefix;
    for (&network.address, 0..) |*byte, i| {
        const kept = prefix.bits -| 8 * i;
        if (kept < 8) byte.* &= ~(@as(u8, 0xff) >> @intCast(kept));
    }
    return network;
}

fn addressFamily(prefix: abi.Prefix) u8 {
    assert(prefixValid(prefix));
    return if (prefix.family == 4) linux.AF.INET else linux.AF.INET6;
}

fn addressBytes(prefix: *const abi.Prefix) []const u8 {
    return prefix.address[0..if (prefix.family == 4) 4 else 16];
}

const testing = std.testing;

/// A link message as the kernel would send it, behind an attribute that the project passes over.
fn linkMessage(kind: u16, interface_index: u32, mtu: u32) Request {
    var message = Request.link(kind, interface_index, IFF_UP, 0);
    message.put(3, "wg0\x00");
    message.putNumber(IFLA_MTU, mtu);
    message.putNumber(IFLA_GSO_MAX_SIZE, 65_000);
    return message;
}

test "a link message tells index, state, MTU and the longest super-packet" {
    var request = linkMessage(RTM_NEWLINK, 7, 1420);
    var messages: Messages = .{ .rest = request.finish(9) };
    const message = messages.next().?;
    try testing.expectEqual(RTM_NEWLINK, message.kind);
    try testing.expectEqual(9, message.sequence);
    try testing.expectEqual(
        Link{ .interface_index = 7, .up = true, .mtu = 1420, .gso_max_size = 65_000 },
        parseLink(message.body).?,
    );
    try testing.expectEqual(null, messages.next());
}

test "a bridge's word about its port is not taken for the link's own" {
    var request = linkMessage(RTM_DELLINK, 7, 1420);
    request.bytes[header_bytes] = 7; // AF_BRIDGE
    var messages: Messages = .{ .rest = request.finish(0) };
    try testing.expectEqual(null, parseLink(messages.next().?.body));
}

test "a route is built and read back, its host bits cleared" {
    for ([_]struct { abi.Prefix, abi.Prefix }{
        .{
            .{ .family = 4, .bits = 12, .address = .{ 172, 31, 7, 7 } ++ @as([12]u8, @splat(0)) },
            .{ .family = 4, .bits = 12, .address = .{ 172, 16, 0, 0 } ++ @as([12]u8, @splat(0)) },
        },
        .{
            .{ .family = 6, .bits = 64, .address = .{ 0xfd, 1 } ++ @as([14]u8, @splat(0xff)) },
            .{ .family = 6, .bits = 64, .address = .{ 0xfd, 1 } ++ @as([6]u8, @splat(0xff)) ++ @as([8]u8, @splat(0)) },
        },
        .{ .{ .family = 4 }, .{ .family = 4 } },
        .{
            .{ .family = 6, .bits = 128, .address = @splat(0xff) },
            .{ .family = 6, .bits = 128, .address = @splat(0xff) },
        },
    }) |case| {
        var request = Request.route(RTM_NEWROUTE, NLM_F_CREATE, 3, case[0]);
        var messages: Messages = .{ .rest = request.finish(1) };
        const route = parseRoute(messages.next().?.body).?;
        try testing.expectEqual(Route{ .prefix = case[1], .table = route_table_main, .interface_index = 3 }, route);
    }
}

test "a rule says its family, table, mark and place" {
    const prefix: abi.Prefix = .{ .family = 4, .bits = 9, .address = .{ 10, 255, 7, 7 } ++ @as([12]u8, @splat(0)) };
    var request = Request.rule(RTM_NEWRULE, NLM_F_CREATE, .{ .prefix = prefix, .priority = 5200, .table = 300, .suppress = 8, .mark = 7 });
    const bytes = request.finish(1);
    const body = bytes[header_bytes..];
    try testing.expectEqualSlices(u8, &.{ linux.AF.INET, 9, 0, 0, 0, 0, 0, 1 }, body[0..8]);
    const Expected = struct { u16, []const u8 };
    const expected = [_]Expected{
        .{ FRA_DST, &.{ 10, 128, 0, 0 } },
        .{ FRA_PRIORITY, std.mem.asBytes(&@as(u32, 5200)) },
        .{ FRA_FWMARK, std.mem.asBytes(&@as(u32, 7)) },
        .{ FRA_FWMASK, std.mem.asBytes(&@as(u32, 0)) },
        .{ FRA_SUPPRESS_PREFIXLEN, std.mem.asBytes(&@as(u32, 8)) },
        .{ FRA_TABLE, std.mem.asBytes(&@as(u32, 300)) },
        .{ FRA_PROTOCOL, &.{rule_protocol} },
    };
    var attributes: Attributes = .{ .rest = body[route_bytes..] };
    for (expected) |each| {
        const attribute = attributes.next().?;
        try testing.expectEqual(each[0], attribute.kind);
        try testing.expectEqualSlices(u8, each[1], attribute.value);
    }
    try testing.expectEqual(null, attributes.next());
}

test "a verdict is an errno, and a number that is none is a protocol error" {
    for ([_]struct { i32, linux.E }{
        .{ 0, .SUCCESS }, .{ -17, .EXIST }, .{ 17, .PROTO }, .{ -4096, .PROTO }, .{ std.math.minInt(i32), .PROTO },
    }) |case| {
        try testing.expectEqual(case[1], verdict(std.mem.asBytes(&case[0])));
    }
    try testing.expectEqual(linux.E.SUCCESS, verdict(""));
}

test "a datagram cut anywhere gives the whole messages before the cut and nothing else" {
    var bytes: [2 * Request.bytes_max]u8 = undefined;
    var first = linkMessage(RTM_NEWLINK, 7, 1420);
    var second = linkMessage(RTM_NEWLINK, 8, 1280);
    const first_bytes = first.finish(1);
    const second_bytes = second.finish(2);
    @memcpy(bytes[0..first_bytes.len], first_bytes);
    @memcpy(bytes[first_bytes.len..][0..second_bytes.len], second_bytes);
    for (0..first_bytes.len + second_bytes.len + 1) |length| {
        var messages: Messages = .{ .rest = bytes[0..length] };
        var found: usize = 0;
        while (messages.next()) |message| : (found += 1) {
            try testing.expect(parseLink(message.body).?.mtu == if (found == 0) @as(u32, 1420) else 1280);
        }
        const whole = @as(usize, @intFromBool(length >= first_bytes.len)) +
            @intFromBool(length == first_bytes.len + second_bytes.len);
        try testing.expectEqual(whole, found);
    }
}

test "any bytes are read within their bounds" {
    try testing.fuzz({}, readAnything, .{ .corpus = &.{} });
    var random = std.Random.DefaultPrng.init(0x6d76);
    for (0..20_000) |_| {
        var request = linkMessage(RTM_NEWLINK, 7, 1420);
        var bytes: [Request.bytes_max]u8 = undefined;
        const whole = request.finish(1);
        @memcpy(bytes[0..whole.len], whole);
        for (0..3) |_| bytes[random.random().uintLessThan(usize, whole.len)] = random.random().int(u8);
        readAll(bytes[0..random.random().uintAtMost(usize, whole.len)]);
    }
}

fn readAnything(_: void, smith: *testing.Smith) anyerror!void {
    var buffer: [512]u8 = undefined;
    readAll(buffer[0..smith.slice(&buffer)]);
}

fn readAll(bytes: []const u8) void {
    var messages: Messages = .{ .rest = bytes };
    while (messages.next()) |message| {
        _ = verdict(message.body);
        _ = parseLink(message.body);
        if (parseRoute(message.body)) |route| assert(prefixValid(route.prefix));
    }
}
