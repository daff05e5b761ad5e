//! Prints `src/native/abi.ts`. Run by `zig build abi`, never at run time; the text itself is made in
//! `abi_json.zig`.
const std = @import("std");
const abi_json = @import("abi_json.zig");

pub fn main(init: std.process.Init) !void {
    var buffer: [4096]u8 = undefined;
    var stdout: std.Io.File.Writer = .init(.stdout(), init.io, &buffer);
    try stdout.interface.writeAll(abi_json.typescript);
    try stdout.interface.flush();
}
