//! The layout of `abi.zig` as text, made while compiling: JSON for a running library to show, and a
//! TypeScript module for the caller to be written against. Both come from one walk over the same
//! declarations, in source order, so a library and a caller agree exactly where the texts agree.
//! Owns no layout itself. What a struct, an enum or a number is called here is its name in Zig.
const std = @import("std");
const abi = @import("abi.zig");
const constants = @import("constants.zig");

const Form = enum { json, typescript };

/// The numbers of `constants.zig` that the caller's buffers and limits must match.
const shared_constants = .{
    "introduction_bytes",
    "control_message_bytes_max",
    "control_datagram_bytes_max",
    "lanes_max",
    "crypto_workers_max",
    "peers_max",
    "sessions_max",
    "prefixes_max",
    "outbox_ring_datagrams",
    "policy_rules_max",
    "policy_peers_max",
    "mtu_default",
    "mtu_min",
    "mtu_max",
    "busy_poll_us_max",
    "family_relay",
    "control_relayed",
    "relay_hops_max",
    "side_sockets_max",
};

/// Without white space; at most a few kilobytes.
pub const json: []const u8 = render(.json);

/// The whole of `src/native/abi.ts`.
pub const typescript: []const u8 =
    \\/**
    \\ * The border with the library: sizes, byte offsets of fields, and numbers. Written by `zig build abi`
    \\ * from zig/abi.zig; not edited by hand. A library whose own layout differs is not loaded.
    \\ */
    \\export const abi = 
++ render(.typescript) ++ " as const;\n";

fn render(comptime form: Form) []const u8 {
    comptime {
        @setEvalBranchQuota(100_000);
        var out: []const u8 = "{";
        out = out ++ entry(form, 1, "version", number(abi.version), false);
        out = out ++ entry(form, 1, "constants", sharedConstants(form), false);
        out = out ++ entry(form, 1, "flags", declared(form, .flag), false);
        out = out ++ entry(form, 1, "enums", declared(form, .@"enum"), false);
        out = out ++ entry(form, 1, "structs", declared(form, .@"struct"), true);
        return out ++ end(form, 0);
    }
}

const Kind = enum { flag, @"enum", @"struct" };

fn declared(comptime form: Form, comptime kind: Kind) []const u8 {
    comptime {
        const names = @typeInfo(abi).@"struct".decl_names;
        var count = 0;
        for (names) |name| count += @intFromBool(kindOf(name) == kind);
        var out: []const u8 = "{";
        var at = 0;
        for (names) |name| {
            if (kindOf(name) != kind) continue;
            at += 1;
            const decl = @field(abi, name);
            const text = switch (kind) {
                .flag => number(decl),
                .@"enum" => enumText(form, decl),
                .@"struct" => structText(form, decl),
            };
            out = out ++ entry(form, 2, name, text, at == count);
        }
        return out ++ end(form, 1);
    }
}

/// null: what stands under a heading of its own (the version).
fn kindOf(comptime name: []const u8) ?Kind {
    const decl = @field(abi, name);
    if (@TypeOf(decl) != type) return if (std.mem.eql(u8, name, "version")) null else .flag;
    return switch (@typeInfo(decl)) {
        .@"enum" => .@"enum",
        .@"struct" => .@"struct",
        else => @compileError("abi." ++ name ++ " is neither an enum nor a struct"),
    };
}

fn enumText(comptime form: Form, comptime Enum: type) []const u8 {
    comptime {
        const enumeration = @typeInfo(Enum).@"enum";
        const count = enumeration.field_names.len;
        var out: []const u8 = "{";
        for (enumeration.field_names, enumeration.field_values, 1..) |name, value, at| {
            out = out ++ entry(form, 3, name, number(value), at == count);
        }
        return out ++ end(form, 2);
    }
}

/// The size, then the offset of each field, in bytes.
fn structText(comptime form: Form, comptime Struct: type) []const u8 {
    comptime {
        const layout = @typeInfo(Struct).@"struct";
        if (layout.layout != .@"extern") @compileError(@typeName(Struct) ++ " is not extern");
        const count = layout.field_names.len;
        var out: []const u8 = "{" ++ entry(form, 3, "size", number(@sizeOf(Struct)), count == 0);
        for (layout.field_names, 1..) |name, at| {
            if (std.mem.eql(u8, name, "size")) @compileError("a field may not be called size");
            out = out ++ entry(form, 3, name, number(@offsetOf(Struct, name)), at == count);
        }
        return out ++ end(form, 2);
    }
}

fn sharedConstants(comptime form: Form) []const u8 {
    comptime {
        var out: []const u8 = "{";
        for (shared_constants, 1..) |name, at| {
            out = out ++ entry(form, 2, name, number(@field(constants, name)), at == shared_constants.len);
        }
        return out ++ end(form, 1);
    }
}

fn number(comptime value: comptime_int) []const u8 {
    return std.fmt.comptimePrint("{d}", .{value});
}

fn entry(comptime form: Form, comptime depth: usize, comptime name: []const u8, comptime value: []const u8, comptime last: bool) []const u8 {
    return switch (form) {
        .json => "\"" ++ name ++ "\":" ++ value ++ if (last) "" else ",",
        .typescript => "\n" ++ indent(depth) ++ name ++ ": " ++ value ++ ",",
    };
}

fn end(comptime form: Form, comptime depth: usize) []const u8 {
    return switch (form) {
        .json => "}",
        .typescript => "\n" ++ indent(depth) ++ "}",
    };
}

fn indent(comptime depth: usize) []const u8 {
    return "        "[0 .. 2 * depth];
}

test "the JSON text parses and says what the structs say" {
    const parsed = try std.json.parseFromSlice(std.json.Value, std.testing.allocator, json, .{});
    defer parsed.deinit();
    const root = parsed.value.object;
    try std.testing.expectEqual(@as(i64, abi.version), root.get("version").?.integer);
    const command = root.get("structs").?.object.get("Command").?.object;
    try std.testing.expectEqual(@as(i64, @sizeOf(abi.Command)), command.get("size").?.integer);
    try std.testing.expectEqual(@as(i64, @offsetOf(abi.Command, "prefix")), command.get("prefix").?.integer);
    const errors = root.get("enums").?.object.get("Error").?.object;
    try std.testing.expectEqual(@as(i64, 24), errors.get("ring_full").?.integer);
}

test "the TypeScript text holds the same numbers as the JSON text" {
    try std.testing.expect(std.mem.indexOf(u8, typescript, "      remote_index: 36,\n") != null);
    try std.testing.expect(std.mem.indexOf(u8, typescript, "config_flag_uapi: 2,\n") != null);
    try std.testing.expectEqual(std.mem.count(u8, json, ":"), std.mem.count(u8, typescript, ": ") - 1);
}
