//! One connection to the configuration socket: its bytes in, one request at a time, its bytes out.
//!
//! Owns the descriptor and the two buffers, which hold keys and are wiped whenever they move or
//! end. Does not lock, wait or know of threads: `uapi.zig` does, and calls under its lock.
//! Always holds: no more than one request of a connection is outstanding, and nothing more is
//! read meanwhile; a request that is whole is answered even if the client has stopped sending.
const std = @import("std");
const assert = std.debug.assert;
const linux = std.os.linux;
const crypto = @import("crypto.zig");
const uapi_text = @import("uapi_text.zig");

/// Room for a configuration of 65,280 peers and as many allowed IPs in a single request.
pub const request_bytes_max = 16 << 20;
pub const answer_bytes_max = 64 << 20;
const buffer_bytes_min = 4096;
/// What an idle connection may keep.
const buffer_bytes_kept = 64 * 1024;

/// What is answered here, without asking anybody: EINVAL, ENOMEM and EIO. UAPI's numbers are
/// negative: of a positive one `wg` makes "Unknown error".
pub const answer_invalid = "errno=-22\n\n";
pub const answer_no_memory = "errno=-12\n\n";
pub const answer_failed = "errno=-5\n\n";

pub const AnswerError = (uapi_text.FillError || error{ AnswerTooLong, OutOfMemory });

pub const State = enum {
    /// No connection.
    closed,
    /// Waits for the rest of a request, or for its beginning.
    reading,
    /// A clean request waits to be taken.
    queued,
    /// Whoever took it has not answered.
    taken,
    /// The answer is on its way.
    answering,
};

pub const Client = struct {
    state: State = .closed,
    fd: linux.fd_t = -1,
    /// Of the outstanding request.
    id: u32 = 0,
    /// The stream from its first request's beginning: in `queued` and `taken`, the clean request
    /// (only until it is taken) and what follows it.
    buffer: []u8 = &.{},
    used: usize = 0,
    request_len: usize = 0,
    scanner: uapi_text.Scanner = .{},
    answer: []u8 = &.{},
    answer_sent: usize = 0,
    input_ended: bool = false,
    close_after_answer: bool = false,
    /// When bytes last moved, monotonic.
    progress_ms: u64 = 0,

    pub fn open(client: *Client, fd: linux.fd_t, now_ms: u64) void {
        assert(client.state == .closed);
        client.* = .{ .state = .reading, .fd = fd, .progress_ms = now_ms };
    }

    /// Ends the connection. A request that nobody took is forgotten with its secrets.
    pub fn close(client: *Client, allocator: std.mem.Allocator) void {
        if (client.state == .closed) return;
        if (client.state == .queued) uapi_text.freeHandles(client.buffer[0..client.request_len]);
        wipeAndFree(allocator, client.buffer);
        wipeAndFree(allocator, client.answer);
        _ = linux.close(client.fd);
        client.* = .{};
    }

    /// The poll events to wait for; 0: none, not even a hang-up.
    pub fn events(client: *const Client) i16 {
        return switch (client.state) {
            .reading => linux.POLL.IN,
            .answering => linux.POLL.OUT,
            .closed, .queued, .taken => 0,
        };
    }

    /// Milliseconds until a client that does not go on is given up; null where nothing is half done.
    pub fn patience(client: *const Client, now_ms: u64, idle_timeout_ms: u64) ?u64 {
        const half_done = switch (client.state) {
            .reading => client.used > 0,
            .answering => true,
            .closed, .queued, .taken => false,
        };
        return if (half_done) (client.progress_ms + idle_timeout_ms) -| now_ms else null;
    }

    /// Reads once, as much as there is room for, and looks for a whole request.
    pub fn read(client: *Client, allocator: std.mem.Allocator, now_ms: u64) void {
        assert(client.state == .reading);
        if (client.used == client.buffer.len and !client.grow(allocator)) return;
        const room = client.buffer[client.used..];
        const got = linux.recvfrom(client.fd, room.ptr, room.len, linux.MSG.DONTWAIT, null, null);
        switch (linux.errno(got)) {
            .SUCCESS => {},
            .AGAIN, .INTR => return,
            else => return client.close(allocator),
        }
        if (got == 0) client.input_ended = true;
        client.used += got;
        client.progress_ms = now_ms;
        client.advance(allocator);
    }

    fn grow(client: *Client, allocator: std.mem.Allocator) bool {
        if (client.buffer.len >= request_bytes_max) {
            client.refuse(allocator, answer_invalid);
            return false;
        }
        const wanted = @min(request_bytes_max, @max(buffer_bytes_min, 2 * client.buffer.len));
        const larger = allocator.alloc(u8, wanted) catch {
            client.refuse(allocator, answer_no_memory);
            return false;
        };
        @memcpy(larger[0..client.used], client.buffer[0..client.used]);
        wipeAndFree(allocator, client.buffer);
        client.buffer = larger;
        return true;
    }

    /// Queues the first request if it is whole. Ends the connection if it never will be.
    fn advance(client: *Client, allocator: std.mem.Allocator) void {
        assert(client.state == .reading);
        switch (client.scanner.advance(client.buffer[0..client.used])) {
            .more => if (client.input_ended) client.close(allocator),
            .refused => client.refuse(allocator, answer_invalid),
            .whole => |end| {
                client.scanner = .{};
                if (uapi_text.clean(client.buffer[0..end])) |len| {
                    client.discard(len, end);
                    client.request_len = len;
                    client.state = .queued;
                } else |err| {
                    client.discard(0, end);
                    client.answerHere(allocator, switch (err) {
                        error.Malformed => answer_invalid,
                        error.SecretsFull, error.OutOfMemory, error.CryptoUnavailable => answer_no_memory,
                    });
                }
            },
        }
    }

    /// Takes bytes [from, to) out of the buffer.
    fn discard(client: *Client, from: usize, to: usize) void {
        std.mem.copyForwards(u8, client.buffer[from..], client.buffer[to..client.used]);
        const left = client.used - (to - from);
        crypto.wipe(client.buffer[left..client.used]);
        client.used = left;
    }

    /// Copies the queued request out, whose length is `request_len`.
    pub fn take(client: *Client, out: []u8) void {
        assert(client.state == .queued);
        @memcpy(out[0..client.request_len], client.buffer[0..client.request_len]);
        client.discard(0, client.request_len);
        client.request_len = 0;
        client.state = .taken;
    }

    /// The answer to the request that was taken: keys are filled in. After an error the client is
    /// told that its request failed.
    pub fn setAnswer(client: *Client, allocator: std.mem.Allocator, text: []const u8) AnswerError!void {
        assert(client.state == .taken);
        const filled = filledAnswer(allocator, text) catch |err| {
            client.answerHere(allocator, if (err == error.OutOfMemory) answer_no_memory else answer_failed);
            return err;
        };
        client.beginAnswer(filled);
    }

    fn filledAnswer(allocator: std.mem.Allocator, text: []const u8) AnswerError![]u8 {
        if (text.len > answer_bytes_max) return error.AnswerTooLong;
        const filled = try allocator.alloc(u8, try uapi_text.filledLength(text));
        errdefer wipeAndFree(allocator, filled);
        try uapi_text.fill(filled, text);
        return filled;
    }

    fn beginAnswer(client: *Client, answer: []u8) void {
        assert(client.answer.len == 0);
        client.answer = answer;
        client.answer_sent = 0;
        client.state = .answering;
    }

    /// An answer that is made here. Without memory even for that, the connection is dropped.
    fn answerHere(client: *Client, allocator: std.mem.Allocator, text: []const u8) void {
        const answer = allocator.dupe(u8, text) catch {
            // Answering with nothing ends in closing, by the thread that owns the descriptor.
            client.close_after_answer = true;
            return client.beginAnswer(&.{});
        };
        client.beginAnswer(answer);
    }

    /// The stream makes no sense any more: one last answer.
    fn refuse(client: *Client, allocator: std.mem.Allocator, text: []const u8) void {
        client.discard(0, client.used);
        client.close_after_answer = true;
        client.answerHere(allocator, text);
    }

    /// Writes as much as the client takes; when all is written, goes on with its next request.
    pub fn write(client: *Client, allocator: std.mem.Allocator, now_ms: u64) void {
        assert(client.state == .answering);
        while (client.answer_sent < client.answer.len) {
            const rest = client.answer[client.answer_sent..];
            const sent = linux.sendto(client.fd, rest.ptr, rest.len, linux.MSG.DONTWAIT | linux.MSG.NOSIGNAL, null, 0);
            switch (linux.errno(sent)) {
                .SUCCESS => client.answer_sent += sent,
                .AGAIN => return,
                .INTR => continue,
                // It vanished: its answer is dropped, its further requests are still carried out.
                .PIPE, .CONNRESET => break,
                else => return client.close(allocator),
            }
            client.progress_ms = now_ms;
        }
        wipeAndFree(allocator, client.answer);
        client.answer = &.{};
        if (client.close_after_answer) return client.close(allocator);
        if (client.used == 0 and client.buffer.len > buffer_bytes_kept) {
            wipeAndFree(allocator, client.buffer);
            client.buffer = &.{};
        }
        client.progress_ms = now_ms;
        client.state = .reading;
        client.advance(allocator);
    }
};

fn wipeAndFree(allocator: std.mem.Allocator, bytes: []u8) void {
    crypto.wipe(bytes);
    allocator.free(bytes);
}
