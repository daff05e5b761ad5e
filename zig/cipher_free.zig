//! The library without a cipher, for measuring what everything else costs: packets go out as they
//! are, and every tag is taken for good. Built by `zig build cipher-free` alone, under a name that
//! nothing loads by itself; what is published cannot do this.
comptime {
    _ = @import("exports.zig");
}

/// Read by transport.zig.
pub const cipher_free = true;
