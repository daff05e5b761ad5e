//! The functions of libsodium that the library calls, declared by hand: the whole of that border.
//!
//! Owns no state and no policy; `crypto.zig` and `primitives.zig` wrap what stands here, and
//! nothing else declares or calls libsodium. Lengths are in bytes, results 0 or -1, as in
//! libsodium's headers, which are the source of every signature.
//! Always holds: `sodium_init` was called (`crypto.init`) before any other function.

pub extern fn sodium_init() c_int;
pub extern fn sodium_memzero(bytes: [*]u8, len: usize) void;
/// 0 where equal; its time depends on `len` alone.
pub extern fn sodium_memcmp(a: [*]const u8, b: [*]const u8, len: usize) c_int;
pub extern fn randombytes_buf(out: [*]u8, len: usize) void;

/// `out` and `text` are the same memory or apart; `out_len` and the unused nonce may be null.
pub extern fn crypto_aead_chacha20poly1305_ietf_encrypt(
    out: [*]u8,
    out_len: ?*c_ulonglong,
    text: [*]const u8,
    text_len: c_ulonglong,
    data: [*]const u8,
    data_len: c_ulonglong,
    unused: ?[*]const u8,
    nonce: *const [12]u8,
    key: *const [32]u8,
) c_int;

/// The tag is compared before anything is decrypted; where it differs, `out` is zeroed.
pub extern fn crypto_aead_chacha20poly1305_ietf_decrypt(
    out: [*]u8,
    out_len: ?*c_ulonglong,
    unused: ?[*]u8,
    sealed: [*]const u8,
    sealed_len: c_ulonglong,
    data: [*]const u8,
    data_len: c_ulonglong,
    nonce: *const [12]u8,
    key: *const [32]u8,
) c_int;

pub extern fn crypto_aead_xchacha20poly1305_ietf_encrypt(
    out: [*]u8,
    out_len: ?*c_ulonglong,
    text: [*]const u8,
    text_len: c_ulonglong,
    data: [*]const u8,
    data_len: c_ulonglong,
    unused: ?[*]const u8,
    nonce: *const [24]u8,
    key: *const [32]u8,
) c_int;

pub extern fn crypto_aead_xchacha20poly1305_ietf_decrypt(
    out: [*]u8,
    out_len: ?*c_ulonglong,
    unused: ?[*]u8,
    sealed: [*]const u8,
    sealed_len: c_ulonglong,
    data: [*]const u8,
    data_len: c_ulonglong,
    nonce: *const [24]u8,
    key: *const [32]u8,
) c_int;

/// -1 where the result is all zero (RFC 7748 section 6.1).
pub extern fn crypto_scalarmult(out: *[32]u8, scalar: *const [32]u8, point: *const [32]u8) c_int;
pub extern fn crypto_scalarmult_base(out: *[32]u8, scalar: *const [32]u8) c_int;

pub extern fn crypto_generichash(
    out: [*]u8,
    out_len: usize,
    data: [*]const u8,
    data_len: c_ulonglong,
    key: ?[*]const u8,
    key_len: usize,
) c_int;

pub extern fn crypto_sign_seed_keypair(public: *[32]u8, secret: *[64]u8, seed: *const [32]u8) c_int;
pub extern fn crypto_sign_detached(
    signature: *[64]u8,
    signature_len: ?*c_ulonglong,
    message: [*]const u8,
    message_len: c_ulonglong,
    secret: *const [64]u8,
) c_int;
/// Refuses non-canonical scalars and points, and public keys of small order.
pub extern fn crypto_sign_verify_detached(
    signature: *const [64]u8,
    message: [*]const u8,
    message_len: c_ulonglong,
    public: *const [32]u8,
) c_int;
/// -1 where the point is of small order or outside the main subgroup.
pub extern fn crypto_sign_ed25519_pk_to_curve25519(out: *[32]u8, public: *const [32]u8) c_int;
pub extern fn crypto_sign_ed25519_sk_to_curve25519(out: *[32]u8, secret: *const [64]u8) c_int;

/// `out` holds `message_len` + 48 bytes.
pub extern fn crypto_box_seal(
    out: [*]u8,
    message: [*]const u8,
    message_len: c_ulonglong,
    public: *const [32]u8,
) c_int;
/// `out` holds `sealed_len` - 48 bytes.
pub extern fn crypto_box_seal_open(
    out: [*]u8,
    sealed: [*]const u8,
    sealed_len: c_ulonglong,
    public: *const [32]u8,
    secret: *const [32]u8,
) c_int;
