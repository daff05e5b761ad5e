//! The cryptography of WireGuard (paper, section 5.4) over byte slices: BLAKE2s and its HMAC and
//! KDF from std, ciphers and X25519 from libsodium.
//!
//! Owns no key: every secret is the caller's memory, and what a function derives on its stack is
//! wiped before it returns. Knows neither handles (`secrets.zig`) nor the C border.
//! Always holds: nothing here branches on, or indexes by, a secret byte; text that is not
//! authentic is never left in `dst`.
const std = @import("std");
const assert = std.debug.assert;
const constants = @import("constants.zig");
const sodium = @import("sodium.zig");

const Blake2s256 = std.crypto.hash.blake2.Blake2s256;
const Blake2s128 = std.crypto.hash.blake2.Blake2s128;

pub const key_bytes = constants.key_bytes;
pub const tag_bytes = constants.tag_bytes;
pub const mac_bytes = constants.mac_bytes;
pub const hash_bytes = 32;
pub const xnonce_bytes = 24;

const hash_block_bytes = 64;

var initialized: std.atomic.Value(bool) = .init(false);

/// Lets libsodium choose its implementations for this processor. May be called any number of
/// times and from any thread; must have returned before anything else here is called.
pub fn init() error{CryptoUnavailable}!void {
    if (initialized.load(.acquire)) return;
    if (sodium.sodium_init() < 0) return error.CryptoUnavailable;
    initialized.store(true, .release);
}

/// Fills `out` from the kernel's generator.
pub fn random(out: []u8) void {
    sodium.randombytes_buf(out.ptr, out.len);
}

/// Overwrites with zeros in a way that the compiler keeps.
pub fn wipe(bytes: []u8) void {
    sodium.sodium_memzero(bytes.ptr, bytes.len);
}

/// Wipes a value through its pointer.
pub fn wipeValue(pointer: anytype) void {
    wipe(std.mem.asBytes(pointer));
}

const stack_wiped_bytes = 32 * 1024;

/// Overwrites the stack below the caller: what the compiler spilled there while it worked on keys is
/// nobody's to wipe by name. Called by each thread before it sleeps, so that nothing outlasts a key
/// for longer than a thread is busy.
pub noinline fn wipeStack() void {
    // Where safety is on, `undefined` is a write as well.
    @setRuntimeSafety(false);
    var below: [stack_wiped_bytes]u8 = undefined;
    wipe(&below);
}

/// Compares in a time that depends on the length alone; the lengths are public and the same.
pub fn equal(a: []const u8, b: []const u8) bool {
    assert(a.len == b.len);
    return sodium.sodium_memcmp(a.ptr, b.ptr, a.len) == 0;
}

/// Whether all bytes are zero, in a time that depends on the length alone.
pub fn isZero(bytes: []const u8) bool {
    var seen: u8 = 0;
    for (bytes) |byte| seen |= byte;
    return seen == 0;
}

/// BLAKE2s-256 (RFC 7693) in several parts.
pub const Hash = struct {
    state: Blake2s256,

    pub fn init() Hash {
        return .{ .state = .init(.{}) };
    }

    pub fn update(hasher: *Hash, data: []const u8) void {
        hasher.state.update(data);
    }

    /// Writes the digest and wipes the state, which must not be used again.
    pub fn final(hasher: *Hash, out: *[hash_bytes]u8) void {
        hasher.state.final(out);
        wipeValue(hasher);
    }
};

/// BLAKE2s-256 over the parts, one after the other.
pub fn hash(out: *[hash_bytes]u8, parts: []const []const u8) void {
    var hasher: Hash = .init();
    for (parts) |part| hasher.update(part);
    hasher.final(out);
}

/// Keyed BLAKE2s with 16 bytes of output: MAC() of the paper. The key has 1 to 32 bytes.
pub fn mac(out: *[mac_bytes]u8, key: []const u8, data: []const u8) void {
    assert(key.len >= 1 and key.len <= key_bytes);
    var state: Blake2s128 = .init(.{ .key = key });
    defer wipeValue(&state);
    state.update(data);
    state.final(out);
}

/// HMAC-BLAKE2s (RFC 2104) over the parts. The key has at most 64 bytes.
pub fn hmac(out: *[hash_bytes]u8, key: []const u8, parts: []const []const u8) void {
    assert(key.len <= hash_block_bytes);
    var pad: [hash_block_bytes]u8 = @splat(0x36);
    defer wipe(&pad);
    for (pad[0..key.len], key) |*byte, key_byte| byte.* ^= key_byte;

    var inner: [hash_bytes]u8 = undefined;
    defer wipe(&inner);
    var hasher: Hash = .init();
    hasher.update(&pad);
    for (parts) |part| hasher.update(part);
    hasher.final(&inner);

    for (&pad) |*byte| byte.* ^= 0x36 ^ 0x5c;
    hasher = .init();
    hasher.update(&pad);
    hasher.update(&inner);
    hasher.final(out);
}

/// KDF1 to KDF3 of the paper: HKDF (RFC 5869) over HMAC-BLAKE2s with `chain` as the salt; as many
/// outputs as there are pointers. An output may be the memory of `chain` or of `input`.
pub fn kdf(outputs: []const *[key_bytes]u8, chain: *const [key_bytes]u8, input: []const u8) void {
    assert(outputs.len >= 1 and outputs.len <= 3);
    var pseudorandom_key: [hash_bytes]u8 = undefined;
    defer wipe(&pseudorandom_key);
    hmac(&pseudorandom_key, chain, &.{input});

    var block: [hash_bytes]u8 = undefined;
    defer wipe(&block);
    for (outputs, 1..) |output, number| {
        const previous: []const u8 = if (number == 1) "" else &block;
        hmac(&block, &pseudorandom_key, &.{ previous, &.{@intCast(number)} });
        output.* = block;
    }
}

/// The nonce of WireGuard: 4 zero bytes, then the counter, little-endian.
inline fn nonceOf(counter: u64) [12]u8 {
    var nonce: [12]u8 = @splat(0);
    std.mem.writeInt(u64, nonce[4..], counter, .little);
    return nonce;
}

/// ChaCha20-Poly1305 (RFC 8439). `dst` is 16 bytes longer than `src`, and is either apart from it
/// or begins where it begins.
pub fn seal(
    dst: []u8,
    src: []const u8,
    ad: []const u8,
    counter: u64,
    key: *const [key_bytes]u8,
) void {
    assert(dst.len == src.len + tag_bytes);
    const nonce = nonceOf(counter);
    sealWithNonce(dst, src, ad, &nonce, key);
}

fn sealWithNonce(
    dst: []u8,
    src: []const u8,
    ad: []const u8,
    nonce: *const [12]u8,
    key: *const [key_bytes]u8,
) void {
    _ = sodium.crypto_aead_chacha20poly1305_ietf_encrypt(
        dst.ptr,
        null,
        src.ptr,
        src.len,
        ad.ptr,
        ad.len,
        null,
        nonce,
        key,
    );
}

/// The inverse of `seal`: `dst` is 16 bytes shorter than `sealed`, and is either apart from it or
/// begins where it begins. false: not authentic, and `dst` is zeros.
pub fn open(
    dst: []u8,
    sealed: []const u8,
    ad: []const u8,
    counter: u64,
    key: *const [key_bytes]u8,
) bool {
    assert(sealed.len == dst.len + tag_bytes);
    const nonce = nonceOf(counter);
    return sodium.crypto_aead_chacha20poly1305_ietf_decrypt(
        dst.ptr,
        null,
        null,
        sealed.ptr,
        sealed.len,
        ad.ptr,
        ad.len,
        &nonce,
        key,
    ) == 0;
}

/// XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03), for cookie replies (paper 5.4.7). Memory as
/// in `seal`.
pub fn sealX(
    dst: []u8,
    src: []const u8,
    ad: []const u8,
    nonce: *const [xnonce_bytes]u8,
    key: *const [key_bytes]u8,
) void {
    assert(dst.len == src.len + tag_bytes);
    _ = sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(
        dst.ptr,
        null,
        src.ptr,
        src.len,
        ad.ptr,
        ad.len,
        null,
        nonce,
        key,
    );
}

/// The inverse of `sealX`. false: not authentic, and `dst` is zeros.
pub fn openX(
    dst: []u8,
    sealed: []const u8,
    ad: []const u8,
    nonce: *const [xnonce_bytes]u8,
    key: *const [key_bytes]u8,
) bool {
    assert(sealed.len == dst.len + tag_bytes);
    return sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(
        dst.ptr,
        null,
        null,
        sealed.ptr,
        sealed.len,
        ad.ptr,
        ad.len,
        nonce,
        key,
    ) == 0;
}

/// X25519 (RFC 7748). A result of all zeros means that the point contributed nothing: it is
/// refused, and `out` is zeros.
pub fn x25519(
    out: *[key_bytes]u8,
    scalar: *const [key_bytes]u8,
    point: *const [key_bytes]u8,
) error{LowOrderPoint}!void {
    const result = sodium.crypto_scalarmult(out, scalar, point);
    // libsodium refuses some of these points before it computes: `out` was not written then.
    if (result != 0) {
        wipe(out);
        return error.LowOrderPoint;
    }
    assert(!isZero(out));
}

/// The public key of a private one; clamping happens inside.
pub fn x25519Public(out: *[key_bytes]u8, scalar: *const [key_bytes]u8) void {
    const result = sodium.crypto_scalarmult_base(out, scalar);
    assert(result == 0);
}

/// Makes 32 random bytes an X25519 private key in the form that is stored (RFC 7748 section 5).
pub fn clamp(scalar: *[key_bytes]u8) void {
    scalar[0] &= 248;
    scalar[31] = (scalar[31] & 127) | 64;
}

const testing = std.testing;

/// Bytes of a hexadecimal string, for vectors.
pub fn hex(comptime text: []const u8) [text.len / 2]u8 {
    @setEvalBranchQuota(100_000);
    return comptime blk: {
        var bytes: [text.len / 2]u8 = undefined;
        _ = std.fmt.hexToBytes(&bytes, text) catch unreachable;
        break :blk bytes;
    };
}

fn ascending(comptime len: usize) [len]u8 {
    var bytes: [len]u8 = undefined;
    for (&bytes, 0..) |*byte, i| byte.* = @truncate(i);
    return bytes;
}

fn expectHash(comptime expected: []const u8, parts: []const []const u8) !void {
    var out: [hash_bytes]u8 = undefined;
    hash(&out, parts);
    try testing.expectEqual(hex(expected), out);
}

test "BLAKE2s-256 agrees with RFC 7693 appendix B and with an independent implementation" {
    try init();
    try expectHash("508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982", &.{"abc"});
    try expectHash("69217a3079908094e11121d042354a7c1f55b6482ca1a51e1b250dfd1ed0eef9", &.{});
    const bytes = ascending(200);
    const expected = "6d244e1a06ce4ef578dd0f63aff0936706735119ca9c8d22d86c801414ab9741";
    try expectHash(expected, &.{&bytes});
    for ([_]usize{ 1, 63, 64, 65, 128, 199 }) |cut| {
        try expectHash(expected, &.{ bytes[0..cut], bytes[cut..] });
    }
}

/// The sequence of RFC 7693 appendix E.
fn selfTestSequence(out: []u8, seed: u32) void {
    var a: u32 = 0xDEAD4BAD *% seed;
    var b: u32 = 1;
    for (out) |*byte| {
        const t = a +% b;
        a = b;
        b = t;
        byte.* = @truncate(t >> 24);
    }
}

test "BLAKE2s in all lengths, keyed and not, passes the self test of RFC 7693 appendix E" {
    try init();
    var whole: Hash = .init();
    var input_bytes: [1024]u8 = undefined;
    var key_storage: [32]u8 = undefined;
    inline for ([_]usize{ 16, 20, 28, 32 }) |out_len| {
        const Variant = std.crypto.hash.blake2.Blake2s(out_len * 8);
        for ([_]usize{ 0, 3, 64, 65, 255, 1024 }) |in_len| {
            const input = input_bytes[0..in_len];
            selfTestSequence(input, @intCast(in_len));
            var digest: [out_len]u8 = undefined;
            if (out_len == 32) hash(&digest, &.{input}) else Variant.hash(input, &digest, .{});
            whole.update(&digest);
            const key = key_storage[0..out_len];
            selfTestSequence(key, @intCast(out_len));
            if (out_len == 16) mac(&digest, key, input) else Variant.hash(input, &digest, .{ .key = key });
            whole.update(&digest);
        }
    }
    var out: [hash_bytes]u8 = undefined;
    whole.final(&out);
    try testing.expectEqual(hex("6a411f08ce25adcdfb02aba641451cec53c598b24f4fc787fbdc88797f4c1dfe"), out);
}

test "the keyed MAC agrees with an independent implementation" {
    try init();
    const key = ascending(32);
    const message = ascending(100);
    var out: [mac_bytes]u8 = undefined;
    mac(&out, &key, &message);
    try testing.expectEqual(hex("0b67d33f8b859c3157fbabd9e6e47ed0"), out);
    mac(&out, key[0..16], "meshvpn");
    try testing.expectEqual(hex("9bb9ad76e98f910a3a811965af818188"), out);
    mac(&out, &key, "");
    try testing.expectEqual(hex("9536f9b267655743dee97b8a670f9f53"), out);
}

test "HMAC-BLAKE2s agrees with an independent implementation" {
    try init();
    var out: [hash_bytes]u8 = undefined;
    hmac(&out, &ascending(32), &.{ "me", "sh" });
    try testing.expectEqual(hex("c7a498978957af5b60df0fe8baa7a7d51f71020c9d4f48d25331d994e11bff4b"), out);
    hmac(&out, &ascending(64), &.{&ascending(150)});
    try testing.expectEqual(hex("65d0035b8f826fdd7ea52a1dab9bd898e7be10ef7e1c23cf9baa92f36c424580"), out);
}

test "KDF1 to KDF3 agree with an independent implementation, also in place" {
    try init();
    const chain = ascending(32);
    const input = ascending(132)[100..132].*;
    const first = hex("e3b7e038799447459d13f6cc03b71555c0b32ee93354ebe4526ec98bc53b20a4");
    const second = hex("ca06d8e46b509266c7c0594805ffb9c256348a33c642381348f047e452d239e2");
    const third = hex("5ee952936bec1473c13db1cc92b8d8ba5ad2df7c77f07478731d48aa5530a000");
    var a: [32]u8 = undefined;
    var b: [32]u8 = undefined;
    var c: [32]u8 = undefined;
    kdf(&.{ &a, &b, &c }, &chain, &input);
    try testing.expectEqual(first, a);
    try testing.expectEqual(second, b);
    try testing.expectEqual(third, c);

    a = chain;
    b = input;
    kdf(&.{ &a, &b }, &a, &b);
    try testing.expectEqual(first, a);
    try testing.expectEqual(second, b);

    kdf(&.{&a}, &chain, "");
    try testing.expectEqual(hex("7a38c34bf2b8738d7374ca77c44ecb309a11d2b2528304fa86052c365e722624"), a);
}

const sunscreen = "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for " ++
    "the future, sunscreen would be it.";

test "ChaCha20-Poly1305 agrees with RFC 8439 section 2.8.2" {
    try init();
    const key = hex("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f");
    const nonce = hex("070000004041424344454647");
    const expected = hex("d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6" ++
        "3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36" ++
        "92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc" ++
        "3ff4def08e4b7a9de576d26586cec64b61161ae10b594f09e26a7e902ecbd0600691");
    var out: [expected.len]u8 = undefined;
    sealWithNonce(&out, sunscreen, &hex("50515253c0c1c2c3c4c5c6c7"), &nonce, &key);
    try testing.expectEqual(expected, out);
}

test "the counter is the little-endian end of the nonce: RFC 8439 appendix A.5, and in place" {
    try init();
    const key = hex("1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0");
    const ad = hex("f33388860000000000004e91");
    const counter: u64 = 0x0807060504030201;
    const text = "Internet-Drafts are draft documents valid for a maximum of six months and may be " ++
        "updated, replaced, or obsoleted by other documents at any time. It is inappropriate to use " ++
        "Internet-Drafts as reference material or to cite them other than as /\u{201c}work in progress./\u{201d}";
    const expected = hex("64a0861575861af460f062c79be643bd5e805cfd345cf389f108670ac76c8cb2" ++
        "4c6cfc18755d43eea09ee94e382d26b0bdb7b73c321b0100d4f03b7f355894cf" ++
        "332f830e710b97ce98c8a84abd0b948114ad176e008d33bd60f982b1ff37c855" ++
        "9797a06ef4f0ef61c186324e2b3506383606907b6a7c02b0f9f6157b53c867e4" ++
        "b9166c767b804d46a59b5216cde7a4e99040c5a40433225ee282a1b0a06c523e" ++
        "af4534d7f83fa1155b0047718cbc546a0d072b04b3564eea1b422273f548271a" ++
        "0bb2316053fa76991955ebd63159434ecebb4e466dae5a1073a6727627097a10" ++
        "49e617d91d361094fa68f0ff77987130305beaba2eda04df997b714d6c6f2c29" ++
        "a6ad5cb4022b02709beead9d67890cbb22392336fea1851f38");
    var buffer: [expected.len]u8 = undefined;
    @memcpy(buffer[0..text.len], text);
    seal(&buffer, buffer[0..text.len], &ad, counter, &key);
    try testing.expectEqual(expected, buffer);
    try testing.expect(open(buffer[0..text.len], &buffer, &ad, counter, &key));
    try testing.expectEqualStrings(text, buffer[0..text.len]);
}

test "a changed bit anywhere is not authentic, and leaves zeros instead of text" {
    try init();
    const key = ascending(32);
    var sealed: [8 + tag_bytes]u8 = undefined;
    for (0..sealed.len) |position| {
        seal(&sealed, "a secret", "header", 7, &key);
        sealed[position] ^= 0x10;
        try testing.expect(!open(sealed[0..8], &sealed, "header", 7, &key));
        try testing.expect(isZero(sealed[0..8]));
    }
    seal(&sealed, "a secret", "header", 7, &key);
    var text: [8]u8 = undefined;
    try testing.expect(!open(&text, &sealed, "header", 8, &key));
    try testing.expect(!open(&text, &sealed, "Header", 7, &key));
    try testing.expect(open(&text, &sealed, "header", 7, &key));
}

test "an empty text has a tag, too: keepalives" {
    try init();
    var sealed: [tag_bytes]u8 = undefined;
    seal(&sealed, "", "", std.math.maxInt(u64), &ascending(32));
    try testing.expect(open(sealed[0..0], &sealed, "", std.math.maxInt(u64), &ascending(32)));
    sealed[15] ^= 1;
    try testing.expect(!open(sealed[0..0], &sealed, "", std.math.maxInt(u64), &ascending(32)));
}

test "XChaCha20-Poly1305 agrees with draft-irtf-cfrg-xchacha-03 appendix A.3.1" {
    try init();
    const key = hex("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f");
    const nonce = hex("404142434445464748494a4b4c4d4e4f5051525354555657");
    const ad = hex("50515253c0c1c2c3c4c5c6c7");
    const expected = hex("bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb" ++
        "731c7f1b0b4aa6440bf3a82f4eda7e39ae64c6708c54c216cb96b72e1213b452" ++
        "2f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9" ++
        "21f9664c97637da9768812f615c68b13b52ec0875924c1c7987947deafd8780acf49");
    var buffer: [expected.len]u8 = undefined;
    sealX(&buffer, sunscreen, &ad, &nonce, &key);
    try testing.expectEqual(expected, buffer);
    try testing.expect(openX(buffer[0..sunscreen.len], &buffer, &ad, &nonce, &key));
    try testing.expectEqualStrings(sunscreen, buffer[0..sunscreen.len]);
    sealX(&buffer, sunscreen, &ad, &nonce, &key);
    buffer[0] ^= 1;
    try testing.expect(!openX(buffer[0..sunscreen.len], &buffer, &ad, &nonce, &key));
}

test "X25519 agrees with RFC 7748 section 5.2, and both ends agree" {
    try init();
    var out: [32]u8 = undefined;
    try x25519(
        &out,
        &hex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4"),
        &hex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c"),
    );
    try testing.expectEqual(hex("c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"), out);
    try x25519(
        &out,
        &hex("4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d"),
        &hex("e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493"),
    );
    try testing.expectEqual(hex("95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957"), out);

    // The iterated test, 1,000 times.
    var k: [32]u8 = @splat(0);
    k[0] = 9;
    var u = k;
    for (0..1000) |_| {
        try x25519(&out, &k, &u);
        u = k;
        k = out;
    }
    try testing.expectEqual(hex("684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51"), k);

    // Both ends of an exchange, from an independent implementation.
    const a = ascending(33)[1..33].*;
    const b = ascending(133)[101..133].*;
    var public: [32]u8 = undefined;
    x25519Public(&public, &a);
    try testing.expectEqual(hex("07a37cbc142093c8b755dc1b10e86cb426374ad16aa853ed0bdfc0b2b86d1c7c"), public);
    try x25519(&out, &b, &public);
    const shared = hex("c9ea6a3f79a000b60b076d4afc990b272f3f0b5aaa3f0b8713c209273e363863");
    try testing.expectEqual(shared, out);
    x25519Public(&public, &b);
    try x25519(&out, &a, &public);
    try testing.expectEqual(shared, out);
}

/// Points of small order and their non-canonical encodings.
pub const low_order_points = [_][32]u8{
    hex("0000000000000000000000000000000000000000000000000000000000000000"),
    hex("0100000000000000000000000000000000000000000000000000000000000000"),
    hex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    hex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    hex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    hex("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    hex("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
};

test "every point of low order is refused, with and without the unused top bit" {
    try init();
    var scalar = ascending(32);
    clamp(&scalar);
    for (low_order_points) |point| {
        var out: [32]u8 = @splat(0xaa);
        try testing.expectError(error.LowOrderPoint, x25519(&out, &scalar, &point));
        try testing.expect(isZero(&out));
        var with_top_bit = point;
        with_top_bit[31] |= 0x80;
        try testing.expectError(error.LowOrderPoint, x25519(&out, &scalar, &with_top_bit));
    }
}

test "equal compares every byte, wipe clears every byte" {
    try init();
    var a = ascending(33);
    var b = a;
    try testing.expect(equal(&a, &b));
    for (0..a.len) |i| {
        b[i] ^= 0x80;
        try testing.expect(!equal(&a, &b));
        b[i] ^= 0x80;
    }
    wipe(&a);
    try testing.expect(isZero(&a));
    try testing.expect(!isZero(&b));
}
