//! The cryptographic half of the C border: `meshvpn_*` functions over secret handles, for the
//! handshakes and identities that the control plane decides about.
//!
//! Owns nothing but the checks of what comes in; `crypto.zig` computes, `secrets.zig` keeps.
//! Secrets come in and go out as handles only, except through `meshvpn_secret_import`.
//! Results: >= 0 is success (a length where bytes of variable length are written), below zero
//! `-abi.Error`. Lengths are u32, at most 1 MiB; a pointer may be null where its length is 0.
//! Always holds: after an error no secret was made and none was freed.
const std = @import("std");
const abi = @import("abi.zig");
const constants = @import("constants.zig");
const crypto = @import("crypto.zig");
const key_file = @import("key_file.zig");
const notify_socket = @import("notify_socket.zig");
const secrets = @import("secrets.zig");
const sodium = @import("sodium.zig");

const Handle = secrets.Handle;
const Key = [constants.key_bytes]u8;

/// Longest input of any function here.
pub const input_bytes_max: u32 = 1 << 20;
const signature_bytes = 64;
/// An ephemeral public key and a tag: what `crypto_box_seal` adds.
const box_overhead_bytes = 48;
/// Flag of `meshvpn_secret_store`: an existing file is replaced.
const store_flag_replace: u32 = 1;
const blake2b_bytes_min = 16;
const blake2b_bytes_max = 64;

fn failed(code: abi.Error) i32 {
    return -@backingInt(code);
}

fn codeOf(err: (secrets.MakeError || secrets.Error || key_file.LoadError || key_file.StoreError)) i32 {
    return failed(switch (err) {
        error.NoSuchSecret => .no_such_secret,
        error.SecretsFull => .table_full,
        error.OutOfMemory => .out_of_memory,
        error.CryptoUnavailable => .self_test_failed,
        error.NoSuchFile => .no_such_file,
        error.PermissionDenied => .permission_denied,
        error.KeyFileOpenToOthers => .key_file_open_to_others,
        error.KeyFileInvalid => .key_file_invalid,
        error.FileExists => .file_exists,
        error.InvalidPath => .invalid_argument,
        error.System => .system,
    });
}

/// The caller's bytes; null where they cannot be meant.
fn input(bytes: ?[*]const u8, len: u32) ?[]const u8 {
    if (len > input_bytes_max) return null;
    if (len == 0) return "";
    return (bytes orelse return null)[0..len];
}

fn output(bytes: ?[*]u8, len: usize) ?[]u8 {
    if (len == 0) return &.{};
    return (bytes orelse return null)[0..len];
}

/// Ciphers work in place or on memory that is apart.
fn overlapsPartly(dst: []const u8, src: []const u8) bool {
    const dst_at = @intFromPtr(dst.ptr);
    const src_at = @intFromPtr(src.ptr);
    if (dst.len == 0 or src.len == 0 or dst_at == src_at) return false;
    return dst_at < src_at +| src.len and src_at < dst_at +| dst.len;
}

/// Keeps this process from debuggers and core dumps of the same user.
pub export fn meshvpn_harden() i32 {
    secrets.harden() catch return failed(.system);
    return 0;
}

/// One word to a service manager, at the socket that NOTIFY_SOCKET names.
pub export fn meshvpn_notify(path: ?[*]const u8, path_len: u32, text: ?[*]const u8, text_len: u32) i32 {
    const where = input(path, path_len) orelse return failed(.invalid_argument);
    const what = input(text, text_len) orelse return failed(.invalid_argument);
    notify_socket.notify(where, what) catch |err| return failed(switch (err) {
        error.InvalidArgument => .invalid_argument,
        error.NoSuchFile => .no_such_file,
        error.PermissionDenied => .permission_denied,
        error.System => .system,
    });
    return 0;
}

pub export fn meshvpn_random(out: ?[*]u8, len: u32) i32 {
    if (len > input_bytes_max) return failed(.invalid_argument);
    crypto.init() catch return failed(.self_test_failed);
    crypto.random(output(out, len) orelse return failed(.invalid_argument));
    return 0;
}

/// A new X25519 private key.
pub export fn meshvpn_secret_generate(out: ?*Handle) i32 {
    const handle = out orelse return failed(.invalid_argument);
    handle.* = secrets.generateX25519() catch |err| return codeOf(err);
    return 0;
}

pub export fn meshvpn_secret_import(bytes: ?*const Key, out: ?*Handle) i32 {
    const handle = out orelse return failed(.invalid_argument);
    const key = bytes orelse return failed(.invalid_argument);
    handle.* = secrets.import(key) catch |err| return codeOf(err);
    return 0;
}

pub export fn meshvpn_secret_free(handle: Handle) i32 {
    secrets.free(handle) catch |err| return codeOf(err);
    return 0;
}

/// Secrets in use, whoever owns them.
pub export fn meshvpn_secret_count() i32 {
    return @intCast(secrets.count());
}

/// Reads a key file. The path is not terminated.
pub export fn meshvpn_secret_load(path: ?[*]const u8, len: u32, out: ?*Handle) i32 {
    const handle = out orelse return failed(.invalid_argument);
    const name = input(path, len) orelse return failed(.invalid_argument);
    handle.* = key_file.load(name) catch |err| return codeOf(err);
    return 0;
}

/// Writes a key file; flag 1: an existing one is replaced. The secret stays the caller's.
pub export fn meshvpn_secret_store(handle: Handle, path: ?[*]const u8, len: u32, flags: u32) i32 {
    const name = input(path, len) orelse return failed(.invalid_argument);
    if (flags & ~store_flag_replace != 0) return failed(.invalid_argument);
    key_file.store(handle, name, flags & store_flag_replace != 0) catch |err| return codeOf(err);
    return 0;
}

pub export fn meshvpn_x25519_public(private: Handle, out: ?*Key) i32 {
    const public = out orelse return failed(.invalid_argument);
    const scalar = secrets.pointer(private) catch |err| return codeOf(err);
    crypto.x25519Public(public, scalar);
    return 0;
}

/// X25519 into a new secret; `low_order_point` where the result is all zero.
pub export fn meshvpn_x25519(private: Handle, point: ?*const Key, out: ?*Handle) i32 {
    const handle = out orelse return failed(.invalid_argument);
    const public = point orelse return failed(.invalid_argument);
    const scalar = secrets.pointer(private) catch |err| return codeOf(err);
    const shared = secrets.reserve() catch |err| return codeOf(err);
    crypto.x25519(shared.bytes, scalar, public) catch {
        secrets.free(shared.handle) catch unreachable;
        return failed(.low_order_point);
    };
    handle.* = shared.handle;
    return 0;
}

/// BLAKE2s-256 over the data, then over the secret unless it is 0.
pub export fn meshvpn_hash(data: ?[*]const u8, len: u32, secret_or_0: Handle, out: ?*Key) i32 {
    const digest = out orelse return failed(.invalid_argument);
    const bytes = input(data, len) orelse return failed(.invalid_argument);
    if (secret_or_0 == secrets.none) {
        crypto.hash(digest, &.{bytes});
        return 0;
    }
    const secret = secrets.pointer(secret_or_0) catch |err| return codeOf(err);
    crypto.hash(digest, &.{ bytes, secret });
    return 0;
}

/// Keyed BLAKE2s, 16 bytes of output, under a public key of 1 to 32 bytes.
pub export fn meshvpn_mac(
    key: ?[*]const u8,
    key_len: u32,
    data: ?[*]const u8,
    len: u32,
    out: ?*[constants.mac_bytes]u8,
) i32 {
    const result = out orelse return failed(.invalid_argument);
    if (key_len < 1 or key_len > constants.key_bytes) return failed(.invalid_argument);
    const key_slice = input(key, key_len) orelse return failed(.invalid_argument);
    const bytes = input(data, len) orelse return failed(.invalid_argument);
    crypto.mac(result, key_slice, bytes);
    return 0;
}

/// KDF1 to KDF3 into `outputs` (1 to 3) new secrets. The chain is 32 public bytes or a secret; the
/// input is public bytes, which may be none, or a secret.
pub export fn meshvpn_kdf(
    chain_or_null: ?*const Key,
    chain_secret_or_0: Handle,
    input_bytes: ?[*]const u8,
    input_len: u32,
    input_secret_or_0: Handle,
    outputs: u32,
    out: ?[*]Handle,
) i32 {
    if (outputs < 1 or outputs > 3) return failed(.invalid_argument);
    const handles = (out orelse return failed(.invalid_argument))[0..outputs];
    if ((chain_or_null == null) == (chain_secret_or_0 == secrets.none)) return failed(.invalid_argument);
    const chain = chain_or_null orelse
        secrets.get(chain_secret_or_0) orelse return failed(.no_such_secret);
    var material = input(input_bytes, input_len) orelse return failed(.invalid_argument);
    if (input_secret_or_0 != secrets.none) {
        if (material.len != 0) return failed(.invalid_argument);
        material = secrets.get(input_secret_or_0) orelse return failed(.no_such_secret);
    }

    var reserved: [3]secrets.Reserved = undefined;
    var pointers: [3]*Key = undefined;
    for (0..outputs) |i| {
        reserved[i] = secrets.reserve() catch |err| {
            for (reserved[0..i]) |earlier| secrets.free(earlier.handle) catch unreachable;
            return codeOf(err);
        };
        pointers[i] = reserved[i].bytes;
    }
    crypto.kdf(pointers[0..outputs], chain, material);
    for (handles, reserved[0..outputs]) |*handle, made| handle.* = made.handle;
    return 0;
}

/// ChaCha20-Poly1305 under a secret. Writes and returns len + 16.
pub export fn meshvpn_aead_seal(
    key: Handle,
    counter: u32,
    ad: ?[*]const u8,
    ad_len: u32,
    text: ?[*]const u8,
    len: u32,
    out: ?[*]u8,
) i32 {
    const data = input(ad, ad_len) orelse return failed(.invalid_argument);
    const src = input(text, len) orelse return failed(.invalid_argument);
    const dst = output(out, src.len + crypto.tag_bytes) orelse return failed(.invalid_argument);
    if (overlapsPartly(dst, src)) return failed(.invalid_argument);
    const secret = secrets.pointer(key) catch |err| return codeOf(err);
    crypto.seal(dst, src, data, counter, secret);
    return @intCast(dst.len);
}

/// Writes and returns len - 16, or `not_authentic` and zeros.
pub export fn meshvpn_aead_open(
    key: Handle,
    counter: u32,
    ad: ?[*]const u8,
    ad_len: u32,
    sealed: ?[*]const u8,
    len: u32,
    out: ?[*]u8,
) i32 {
    const data = input(ad, ad_len) orelse return failed(.invalid_argument);
    const src = input(sealed, len) orelse return failed(.invalid_argument);
    if (src.len < crypto.tag_bytes) return failed(.not_authentic);
    const dst = output(out, src.len - crypto.tag_bytes) orelse return failed(.invalid_argument);
    if (overlapsPartly(dst, src)) return failed(.invalid_argument);
    const secret = secrets.pointer(key) catch |err| return codeOf(err);
    if (!crypto.open(dst, src, data, counter, secret)) return failed(.not_authentic);
    return @intCast(dst.len);
}

/// XChaCha20-Poly1305 under a public key: cookie replies. Writes and returns len + 16.
pub export fn meshvpn_xaead_seal(
    key: ?*const Key,
    nonce: ?*const [crypto.xnonce_bytes]u8,
    ad: ?[*]const u8,
    ad_len: u32,
    text: ?[*]const u8,
    len: u32,
    out: ?[*]u8,
) i32 {
    if (key == null or nonce == null) return failed(.invalid_argument);
    const data = input(ad, ad_len) orelse return failed(.invalid_argument);
    const src = input(text, len) orelse return failed(.invalid_argument);
    const dst = output(out, src.len + crypto.tag_bytes) orelse return failed(.invalid_argument);
    if (overlapsPartly(dst, src)) return failed(.invalid_argument);
    crypto.sealX(dst, src, data, nonce.?, key.?);
    return @intCast(dst.len);
}

/// Writes and returns len - 16, or `not_authentic` and zeros.
pub export fn meshvpn_xaead_open(
    key: ?*const Key,
    nonce: ?*const [crypto.xnonce_bytes]u8,
    ad: ?[*]const u8,
    ad_len: u32,
    sealed: ?[*]const u8,
    len: u32,
    out: ?[*]u8,
) i32 {
    if (key == null or nonce == null) return failed(.invalid_argument);
    const data = input(ad, ad_len) orelse return failed(.invalid_argument);
    const src = input(sealed, len) orelse return failed(.invalid_argument);
    if (src.len < crypto.tag_bytes) return failed(.not_authentic);
    const dst = output(out, src.len - crypto.tag_bytes) orelse return failed(.invalid_argument);
    if (overlapsPartly(dst, src)) return failed(.invalid_argument);
    if (!crypto.openX(dst, src, data, nonce.?, key.?)) return failed(.not_authentic);
    return @intCast(dst.len);
}

/// An identity as libsodium computes with it: made from its seed for one call, then wiped.
const Identity = struct {
    public: Key,
    /// The seed, then the public key.
    secret: [64]u8,

    fn expand(identity: *Identity, seed: *const Key) void {
        const result = sodium.crypto_sign_seed_keypair(&identity.public, &identity.secret, seed);
        std.debug.assert(result == 0);
    }

    fn wipe(identity: *Identity) void {
        crypto.wipeValue(identity);
    }
};

/// The public key of an Ed25519 seed (RFC 8032 section 5.1.5).
pub export fn meshvpn_ed25519_public(seed: Handle, out: ?*Key) i32 {
    const public = out orelse return failed(.invalid_argument);
    var identity: Identity = undefined;
    defer identity.wipe();
    identity.expand(secrets.pointer(seed) catch |err| return codeOf(err));
    public.* = identity.public;
    return 0;
}

pub export fn meshvpn_ed25519_sign(
    seed: Handle,
    message: ?[*]const u8,
    len: u32,
    out: ?*[signature_bytes]u8,
) i32 {
    const signature = out orelse return failed(.invalid_argument);
    const bytes = input(message, len) orelse return failed(.invalid_argument);
    var identity: Identity = undefined;
    defer identity.wipe();
    identity.expand(secrets.pointer(seed) catch |err| return codeOf(err));
    _ = sodium.crypto_sign_detached(signature, null, bytes.ptr, bytes.len, &identity.secret);
    return 0;
}

/// `not_authentic` also for signatures and keys in any but their one canonical encoding, and for
/// keys of small order.
pub export fn meshvpn_ed25519_verify(
    public: ?*const Key,
    message: ?[*]const u8,
    len: u32,
    signature: ?*const [signature_bytes]u8,
) i32 {
    if (public == null or signature == null) return failed(.invalid_argument);
    const bytes = input(message, len) orelse return failed(.invalid_argument);
    const result = sodium.crypto_sign_verify_detached(signature.?, bytes.ptr, bytes.len, public.?);
    return if (result == 0) 0 else failed(.not_authentic);
}

/// Seals to whoever holds the identity (libsodium's sealed box over the X25519 form of its key).
/// Writes and returns len + 48; `low_order_point` where the identity is no sound point.
pub export fn meshvpn_identity_seal(
    public: ?*const Key,
    message: ?[*]const u8,
    len: u32,
    out: ?[*]u8,
) i32 {
    const identity = public orelse return failed(.invalid_argument);
    const src = input(message, len) orelse return failed(.invalid_argument);
    const dst = output(out, src.len + box_overhead_bytes) orelse return failed(.invalid_argument);
    if (overlapsPartly(dst, src) or (src.len != 0 and dst.ptr == src.ptr)) return failed(.invalid_argument);
    crypto.init() catch return failed(.self_test_failed);
    var point: Key = undefined;
    if (sodium.crypto_sign_ed25519_pk_to_curve25519(&point, identity) != 0) return failed(.low_order_point);
    if (sodium.crypto_box_seal(dst.ptr, src.ptr, src.len, &point) != 0) return failed(.low_order_point);
    return @intCast(dst.len);
}

/// Writes and returns len - 48, or `not_authentic`.
pub export fn meshvpn_identity_open(seed: Handle, box: ?[*]const u8, len: u32, out: ?[*]u8) i32 {
    const src = input(box, len) orelse return failed(.invalid_argument);
    if (src.len < box_overhead_bytes) return failed(.not_authentic);
    const dst = output(out, src.len - box_overhead_bytes) orelse return failed(.invalid_argument);
    if (overlapsPartly(dst, src) or (dst.len != 0 and dst.ptr == src.ptr)) return failed(.invalid_argument);
    var identity: Identity = undefined;
    defer identity.wipe();
    identity.expand(secrets.pointer(seed) catch |err| return codeOf(err));
    var scalar: Key = undefined;
    defer crypto.wipe(&scalar);
    _ = sodium.crypto_sign_ed25519_sk_to_curve25519(&scalar, &identity.secret);
    var point: Key = undefined;
    crypto.x25519Public(&point, &scalar);
    if (sodium.crypto_box_seal_open(dst.ptr, src.ptr, src.len, &point, &scalar) == 0) return @intCast(dst.len);
    crypto.wipe(dst);
    return failed(.not_authentic);
}

/// BLAKE2b (RFC 7693), unkeyed, 16 to 64 bytes of output.
pub export fn meshvpn_blake2b(out: ?[*]u8, out_len: u32, data: ?[*]const u8, len: u32) i32 {
    if (out_len < blake2b_bytes_min or out_len > blake2b_bytes_max) return failed(.invalid_argument);
    const digest = output(out, out_len) orelse return failed(.invalid_argument);
    const bytes = input(data, len) orelse return failed(.invalid_argument);
    crypto.init() catch return failed(.self_test_failed);
    const result = sodium.crypto_generichash(digest.ptr, digest.len, bytes.ptr, bytes.len, null, 0);
    std.debug.assert(result == 0);
    return 0;
}

const testing = std.testing;
const hex = crypto.hex;

fn imported(bytes: Key) !Handle {
    var handle: Handle = 0;
    try testing.expectEqual(0, meshvpn_secret_import(&bytes, &handle));
    return handle;
}

fn expectSecret(expected: Key, handle: Handle) !void {
    try testing.expectEqual(expected, (try secrets.pointer(handle)).*);
}

fn freeAll(handles: []const Handle) !void {
    for (handles) |handle| try testing.expectEqual(0, meshvpn_secret_free(handle));
}

test "a shared secret is made from handles, both ways the same, and every handle is freed once" {
    const baseline = meshvpn_secret_count();
    var pair: [2]Handle = undefined;
    var public: [2]Key = undefined;
    for (&pair, &public) |*handle, *key| {
        try testing.expectEqual(0, meshvpn_secret_generate(handle));
        try testing.expectEqual(0, meshvpn_x25519_public(handle.*, key));
    }
    var shared: [2]Handle = undefined;
    try testing.expectEqual(0, meshvpn_x25519(pair[0], &public[1], &shared[0]));
    try testing.expectEqual(0, meshvpn_x25519(pair[1], &public[0], &shared[1]));
    try expectSecret(secrets.get(shared[0]).?.*, shared[1]);
    try testing.expectEqual(baseline + 4, meshvpn_secret_count());
    try freeAll(&(pair ++ shared));
    try testing.expectEqual(baseline, meshvpn_secret_count());
    try testing.expectEqual(failed(.no_such_secret), meshvpn_secret_free(pair[0]));
}

test "a point of low order makes no secret" {
    var private: Handle = 0;
    try testing.expectEqual(0, meshvpn_secret_generate(&private));
    defer freeAll(&.{private}) catch unreachable;
    const baseline = meshvpn_secret_count();
    for (crypto.low_order_points) |point| {
        var shared: Handle = 0;
        try testing.expectEqual(failed(.low_order_point), meshvpn_x25519(private, &point, &shared));
        try testing.expectEqual(0, shared);
    }
    try testing.expectEqual(baseline, meshvpn_secret_count());
}

test "a stale handle and handle 0 are refused by every function that needs a secret" {
    const stale = try imported(@splat(1));
    try freeAll(&.{stale});
    const baseline = meshvpn_secret_count();
    const refused = failed(.no_such_secret);
    var key: Key = @splat(9);
    var handles: [3]Handle = @splat(0);
    var bytes: [64]u8 = @splat(0);
    for ([_]Handle{ stale, 0 }) |handle| {
        try testing.expectEqual(refused, meshvpn_secret_free(handle));
        try testing.expectEqual(refused, meshvpn_x25519_public(handle, &key));
        try testing.expectEqual(refused, meshvpn_x25519(handle, &key, &handles[0]));
        try testing.expectEqual(refused, meshvpn_aead_seal(handle, 0, null, 0, null, 0, &bytes));
        try testing.expectEqual(refused, meshvpn_aead_open(handle, 0, null, 0, &bytes, 16, null));
        try testing.expectEqual(refused, meshvpn_ed25519_public(handle, &key));
        try testing.expectEqual(refused, meshvpn_ed25519_sign(handle, null, 0, &bytes));
        try testing.expectEqual(refused, meshvpn_identity_open(handle, &bytes, 48, null));
    }
    try testing.expectEqual(refused, meshvpn_hash(null, 0, stale, &key));
    try testing.expectEqual(refused, meshvpn_kdf(null, stale, null, 0, 0, 3, &handles));
    try testing.expectEqual(refused, meshvpn_kdf(&key, 0, null, 0, stale, 3, &handles));
    try testing.expectEqual(baseline, meshvpn_secret_count());
}

test "hash, mac and kdf take public bytes and secrets alike" {
    const baseline = meshvpn_secret_count();
    var bytes: [132]u8 = undefined;
    for (&bytes, 0..) |*byte, i| byte.* = @intCast(i);
    const chain = bytes[0..32];
    const material = bytes[100..132];

    var digest: Key = undefined;
    try testing.expectEqual(0, meshvpn_hash("abc", 3, 0, &digest));
    try testing.expectEqual(hex("508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982"), digest);
    const secret = try imported(material.*);
    var with_secret: Key = undefined;
    try testing.expectEqual(0, meshvpn_hash(&bytes, 100, secret, &with_secret));
    try testing.expectEqual(0, meshvpn_hash(&bytes, 132, 0, &digest));
    try testing.expectEqual(digest, with_secret);

    var tag: [16]u8 = undefined;
    try testing.expectEqual(0, meshvpn_mac(&bytes, 32, &bytes, 100, &tag));
    try testing.expectEqual(hex("0b67d33f8b859c3157fbabd9e6e47ed0"), tag);

    const chain_secret = try imported(chain.*);
    for ([_]Handle{ 0, chain_secret }) |chain_handle| for ([_]Handle{ 0, secret }) |input_handle| {
        var made: [3]Handle = undefined;
        const input_len: u32 = if (input_handle == 0) 32 else 0;
        const chain_bytes = if (chain_handle == 0) chain else null;
        const result = meshvpn_kdf(chain_bytes, chain_handle, material, input_len, input_handle, 3, &made);
        try testing.expectEqual(0, result);
        try expectSecret(hex("e3b7e038799447459d13f6cc03b71555c0b32ee93354ebe4526ec98bc53b20a4"), made[0]);
        try expectSecret(hex("ca06d8e46b509266c7c0594805ffb9c256348a33c642381348f047e452d239e2"), made[1]);
        try expectSecret(hex("5ee952936bec1473c13db1cc92b8d8ba5ad2df7c77f07478731d48aa5530a000"), made[2]);
        try freeAll(&made);
    };
    try freeAll(&.{ secret, chain_secret });
    try testing.expectEqual(baseline, meshvpn_secret_count());
}

test "a kdf that finds room for only some of its outputs makes none" {
    const filler = try testing.allocator.alloc(Handle, constants.secrets_max - secrets.count() - 2);
    defer testing.allocator.free(filler);
    for (filler) |*handle| handle.* = try imported(@splat(1));
    var made: [3]Handle = @splat(0);
    const chain: Key = @splat(2);
    const baseline = meshvpn_secret_count();
    try testing.expectEqual(failed(.table_full), meshvpn_kdf(&chain, 0, null, 0, 0, 3, &made));
    try testing.expectEqual(@as([3]Handle, @splat(0)), made);
    try testing.expectEqual(baseline, meshvpn_secret_count());
    try testing.expectEqual(0, meshvpn_kdf(&chain, 0, null, 0, 0, 2, &made));
    try freeAll(made[0..2]);
    try freeAll(filler);
}

test "what aead_seal seals, aead_open opens, in place too; nothing shorter than a tag is authentic" {
    const key = try imported(@splat(0x42));
    defer freeAll(&.{key}) catch unreachable;
    var buffer: [21]u8 = undefined;
    @memcpy(buffer[0..5], "hello");
    try testing.expectEqual(21, meshvpn_aead_seal(key, 3, "ad", 2, &buffer, 5, &buffer));
    try testing.expectEqual(failed(.invalid_argument), meshvpn_aead_open(key, 3, "ad", 2, &buffer, 20, buffer[1..]));
    try testing.expectEqual(5, meshvpn_aead_open(key, 3, "ad", 2, &buffer, 21, &buffer));
    try testing.expectEqualStrings("hello", buffer[0..5]);
    try testing.expectEqual(failed(.not_authentic), meshvpn_aead_open(key, 3, "ad", 2, &buffer, 15, &buffer));

    const nonce: [24]u8 = @splat(5);
    const cookie_key: Key = @splat(6);
    @memcpy(buffer[0..5], "hello");
    try testing.expectEqual(21, meshvpn_xaead_seal(&cookie_key, &nonce, "ad", 2, &buffer, 5, &buffer));
    var text: [5]u8 = undefined;
    try testing.expectEqual(5, meshvpn_xaead_open(&cookie_key, &nonce, "ad", 2, &buffer, 21, &text));
    try testing.expectEqualStrings("hello", &text);
    buffer[20] ^= 1;
    try testing.expectEqual(failed(.not_authentic), meshvpn_xaead_open(&cookie_key, &nonce, "ad", 2, &buffer, 21, &text));
    try testing.expectEqual(@as([5]u8, @splat(0)), text);
    try testing.expectEqual(failed(.not_authentic), meshvpn_xaead_open(&cookie_key, &nonce, "ad", 2, &buffer, 0, null));
}

test "Ed25519 agrees with RFC 8032 section 7.1, test 3" {
    const seed = try imported(hex("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7"));
    defer freeAll(&.{seed}) catch unreachable;
    var public: Key = undefined;
    try testing.expectEqual(0, meshvpn_ed25519_public(seed, &public));
    try testing.expectEqual(hex("fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025"), public);
    const message = hex("af82");
    var signature: [64]u8 = undefined;
    try testing.expectEqual(0, meshvpn_ed25519_sign(seed, &message, 2, &signature));
    try testing.expectEqual(hex("6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac" ++
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"), signature);
    try testing.expectEqual(0, meshvpn_ed25519_verify(&public, &message, 2, &signature));
    try testing.expectEqual(failed(.not_authentic), meshvpn_ed25519_verify(&public, &message, 1, &signature));
    for ([_]usize{ 0, 31, 32, 63 }) |position| {
        signature[position] ^= 1;
        try testing.expectEqual(failed(.not_authentic), meshvpn_ed25519_verify(&public, &message, 2, &signature));
        signature[position] ^= 1;
    }
}

test "a signature has one encoding, and a key of small order signs nothing" {
    const seed = try imported(@splat(0x17));
    defer freeAll(&.{seed}) catch unreachable;
    var public: Key = undefined;
    var signature: [64]u8 = undefined;
    try testing.expectEqual(0, meshvpn_ed25519_public(seed, &public));
    try testing.expectEqual(0, meshvpn_ed25519_sign(seed, "m", 1, &signature));
    // s + L is the same scalar to a careless verifier (RFC 8032 section 5.1.7).
    const order: u256 = (1 << 252) + 27742317777372353535851937790883648493;
    const s = std.mem.readInt(u256, signature[32..64], .little);
    std.mem.writeInt(u256, signature[32..64], s + order, .little);
    try testing.expectEqual(failed(.not_authentic), meshvpn_ed25519_verify(&public, "m", 1, &signature));

    // With A and R the neutral element and s = 0, the equation holds for every message.
    var neutral: Key = @splat(0);
    neutral[0] = 1;
    var forged: [64]u8 = @splat(0);
    forged[0] = 1;
    try testing.expectEqual(failed(.not_authentic), meshvpn_ed25519_verify(&neutral, "m", 1, &forged));
    var sealed: [49]u8 = undefined;
    try testing.expectEqual(failed(.low_order_point), meshvpn_identity_seal(&neutral, "m", 1, &sealed));
}

test "only the identity it was sealed to opens a box" {
    const baseline = meshvpn_secret_count();
    const seed = try imported(@splat(0x21));
    const other = try imported(@splat(0x22));
    var public: Key = undefined;
    try testing.expectEqual(0, meshvpn_ed25519_public(seed, &public));
    var sealed: [5 + 48]u8 = undefined;
    try testing.expectEqual(53, meshvpn_identity_seal(&public, "hello", 5, &sealed));
    var text: [5]u8 = undefined;
    try testing.expectEqual(5, meshvpn_identity_open(seed, &sealed, 53, &text));
    try testing.expectEqualStrings("hello", &text);
    try testing.expectEqual(failed(.not_authentic), meshvpn_identity_open(other, &sealed, 53, &text));
    try testing.expect(crypto.isZero(&text));
    for ([_]usize{ 0, 31, 32, 48, 52 }) |position| {
        sealed[position] ^= 1;
        try testing.expectEqual(failed(.not_authentic), meshvpn_identity_open(seed, &sealed, 53, &text));
        sealed[position] ^= 1;
    }
    try testing.expectEqual(failed(.not_authentic), meshvpn_identity_open(seed, &sealed, 47, &text));
    try freeAll(&.{ seed, other });
    try testing.expectEqual(baseline, meshvpn_secret_count());
}

test "BLAKE2b agrees with RFC 7693 appendix A, and in a shorter form with an independent implementation" {
    var digest: [64]u8 = undefined;
    try testing.expectEqual(0, meshvpn_blake2b(&digest, 64, "abc", 3));
    try testing.expectEqual(hex("ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d1" ++
        "7d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923"), digest);
    try testing.expectEqual(0, meshvpn_blake2b(&digest, 32, "meshvpn", 7));
    try testing.expectEqual(hex("5e25e3c809954e16fc1367307beebe9b8334e3bfc742a4d2a639a766f949f3f8"), digest[0..32].*);
}

test "a secret is stored as a key file, not over another one, and loaded" {
    const baseline = meshvpn_secret_count();
    const key = try imported(@splat(0x33));
    var buffer: [64]u8 = undefined;
    const path = try std.fmt.bufPrintSentinel(&buffer, "/tmp/meshvpn-primitives-{d}", .{std.os.linux.getpid()}, 0);
    const len: u32 = @intCast(path.len);
    defer _ = std.os.linux.unlink(path);
    try testing.expectEqual(0, meshvpn_secret_store(key, path.ptr, len, 0));
    try testing.expectEqual(failed(.file_exists), meshvpn_secret_store(key, path.ptr, len, 0));
    try testing.expectEqual(0, meshvpn_secret_store(key, path.ptr, len, store_flag_replace));
    var loaded: Handle = 0;
    try testing.expectEqual(0, meshvpn_secret_load(path.ptr, len, &loaded));
    try expectSecret(@splat(0x33), loaded);
    _ = std.os.linux.chmod(path, 0o644);
    var refused: Handle = 0;
    try testing.expectEqual(failed(.key_file_open_to_others), meshvpn_secret_load(path.ptr, len, &refused));
    try testing.expectEqual(failed(.invalid_argument), meshvpn_secret_store(key, path.ptr, len, 2));
    try testing.expectEqual(0, refused);
    try freeAll(&.{ key, loaded });
    try testing.expectEqual(failed(.no_such_secret), meshvpn_secret_store(key, path.ptr, len, 1));
    try testing.expectEqual(baseline, meshvpn_secret_count());
}

test "lengths and pointers that cannot be meant are refused" {
    const refused = failed(.invalid_argument);
    var key: Key = undefined;
    var tag: [16]u8 = undefined;
    var handle: Handle = 0;
    try testing.expectEqual(refused, meshvpn_secret_generate(null));
    try testing.expectEqual(refused, meshvpn_secret_import(null, &handle));
    try testing.expectEqual(refused, meshvpn_hash(null, 1, 0, &key));
    try testing.expectEqual(refused, meshvpn_hash(&key, input_bytes_max + 1, 0, &key));
    try testing.expectEqual(refused, meshvpn_mac(&key, 0, &key, 1, &tag));
    try testing.expectEqual(refused, meshvpn_mac(&key, 33, &key, 1, &tag));
    try testing.expectEqual(refused, meshvpn_kdf(&key, 0, null, 0, 0, 4, @ptrCast(&handle)));
    try testing.expectEqual(refused, meshvpn_kdf(&key, 0, null, 0, 0, 0, @ptrCast(&handle)));
    try testing.expectEqual(refused, meshvpn_kdf(null, 0, null, 0, 0, 1, @ptrCast(&handle)));
    try testing.expectEqual(refused, meshvpn_blake2b(&key, 15, null, 0));
    try testing.expectEqual(refused, meshvpn_blake2b(&key, 65, null, 0));
    try testing.expectEqual(refused, meshvpn_random(null, 1));
    try testing.expectEqual(refused, meshvpn_random(&key, input_bytes_max + 1));
    try testing.expectEqual(0, meshvpn_random(null, 0));
}
