//! What the kernel says of the interface and of the machine's network, told to the control plane. A part
//! of the transmit thread (tx.zig), which calls it when the monitor is readable.
const tables_ = @import("tables.zig");
const Tx = @import("tx.zig").Tx;

pub fn read(tx: *Tx) void {
    // Of the link lost notices are no harm: the next one tells the state, and the TUN itself its end. Of
    // routes they may have said anything.
    const said = tx.monitor.?.read(tx.interface_index) catch lost: {
        tx.monitor.?.elsewhere = true;
        break :lost null;
    };
    if (tx.monitor.?.elsewhere) {
        tx.monitor.?.elsewhere = false;
        _ = tx.tables.routes_generation.fetchAdd(1, .monotonic);
        tx.tables.post(&tx.counters, .{ .kind = .network_changed, .at_ns = tables_.nowNs() });
    }
    const change = said orelse return;
    // Also said when the interface moves to another namespace: the TUN goes on working there.
    if (change.gone) return;
    const at_ns = tables_.nowNs();
    if (tx.tables.mtu.swap(change.mtu, .monotonic) != change.mtu) {
        tx.tables.post(&tx.counters, .{
            .kind = .mtu_changed,
            .number = change.mtu,
            .at_ns = at_ns,
        });
    }
    if (tx.link_is_up == change.up) return;
    tx.link_is_up = change.up;
    tx.tables.post(&tx.counters, .{
        .kind = .link_changed,
        .reason = @intFromBool(change.up),
        .at_ns = at_ns,
    });
}
