//! What befalls each datagram of one direction, from a seed alone: the same seed gives the n-th
//! datagram the same fate. Pure.
const std = @import("std");

/// Shares in datagrams of a thousand.
pub const Plan = struct {
    seed: u64 = 1,
    delay: u32 = 0,
    /// Of those that are delayed, each less than this.
    delay_ns_max: u64 = 0,
    lose: u32 = 0,
    duplicate: u32 = 0,
    corrupt: u32 = 0,
    truncate: u32 = 0,
    replay: u32 = 0,
};

pub const Did = struct {
    carried: u64 = 0,
    lost: u64 = 0,
    delayed: u64 = 0,
    duplicated: u64 = 0,
    corrupted: u64 = 0,
    truncated: u64 = 0,
    replayed: u64 = 0,
};

pub const Fate = struct {
    delay_ns: u64,
    lose: bool,
    duplicate: bool,
    corrupt: bool,
    truncate: bool,
    replay: bool,
    /// Which bit, which length, which of the past.
    choice: u32,
};

pub const Faults = struct {
    plan: Plan,
    prng: std.Random.DefaultPrng,

    pub fn init(plan: Plan, direction: u64) Faults {
        return .{ .plan = plan, .prng = .init(plan.seed *% 2 +% direction) };
    }

    /// As many numbers are drawn for each datagram, whatever they say.
    pub fn next(faults: *Faults) Fate {
        const random = faults.prng.random();
        const plan = &faults.plan;
        const delayed = happens(random, plan.delay);
        const delay_ns = random.uintLessThanBiased(u64, @max(1, plan.delay_ns_max));
        return .{
            .delay_ns = if (delayed) delay_ns else 0,
            .lose = happens(random, plan.lose),
            .duplicate = happens(random, plan.duplicate),
            .corrupt = happens(random, plan.corrupt),
            .truncate = happens(random, plan.truncate),
            .replay = happens(random, plan.replay),
            .choice = random.int(u32),
        };
    }

    fn happens(random: std.Random, share: u32) bool {
        return random.uintLessThanBiased(u32, 1000) < share;
    }
};
