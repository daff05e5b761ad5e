//! The functions that leave the library. Every `meshvpn_*` of the device stands here.
const abi = @import("abi.zig");

export fn meshvpn_abi_version() u32 {
    return abi.version;
}
