/**
 * The figures of failure detection: memberlist's, for a local network and for one with slow paths.
 * All durations are milliseconds. What follows from the number of members is computed here too.
 */
export interface Profile {
  readonly probeIntervalMs: number;
  /** From the ping to the first request for indirect ones. */
  readonly probeTimeoutMs: number;
  /** Members asked to ping in our place. */
  readonly indirect: number;
  readonly gossipIntervalMs: number;
  readonly gossipTargets: number;
  readonly suspicionMultiplier: number;
  /** The longest suspicion is this many times the shortest. */
  readonly suspicionMaxMultiplier: number;
  readonly retransmitMultiplier: number;
  readonly syncIntervalMs: number;
  /** Lifeguard: awareness, nacks, and suspicions that shorten with accusers. Off: plain SWIM. */
  readonly lifeguard: boolean;
  /** Up to so many members a session is held with each; above, only probing and data open them. */
  readonly heldMax: number;
}

export const profileLan: Profile = {
  probeIntervalMs: 1_000,
  probeTimeoutMs: 500,
  indirect: 3,
  gossipIntervalMs: 200,
  gossipTargets: 3,
  suspicionMultiplier: 4,
  suspicionMaxMultiplier: 6,
  retransmitMultiplier: 4,
  syncIntervalMs: 30_000,
  lifeguard: true,
  heldMax: 64,
};

export const profileWan: Profile = {
  ...profileLan,
  probeIntervalMs: 5_000,
  probeTimeoutMs: 3_000,
  gossipIntervalMs: 500,
  gossipTargets: 4,
  suspicionMultiplier: 6,
  syncIntervalMs: 60_000,
};

/** By what an operator calls them. */
export const profiles = { lan: profileLan, wan: profileWan } as const;
export type ProfileName = keyof typeof profiles;

/** The shortest suspicion: memberlist's formula. `members`: known, this node included. */
export function suspicionMinMs(profile: Profile, members: number): number {
  const spread = Math.max(1, Math.log10(Math.max(1, members)));
  return profile.suspicionMultiplier * spread * profile.probeIntervalMs;
}

/** With fewer accusers than are wanted. Plain SWIM has one length only. */
export function suspicionMaxMs(profile: Profile, members: number): number {
  const min = suspicionMinMs(profile, members);
  return profile.lifeguard ? profile.suspicionMaxMultiplier * min : min;
}

export const accusersMax = 3;

/** Distinct accusers that shorten a suspicion to the minimum. `live`: members, this node included. */
export function accusersWanted(live: number): number {
  return Math.max(1, Math.min(accusersMax, Math.ceil(Math.log2(Math.max(2, live)))));
}

const apartDeadMin = 8;
const apartShare = 1 / 8;

/** So many dead, and such a share of all, are no accident: the mesh fell apart. */
export function isApart(dead: number, members: number): boolean {
  return dead >= Math.max(apartDeadMin, members * apartShare);
}

/** How often each node tells each piece of news (SWIM section 4.1). */
export function retransmitLimit(profile: Profile, members: number): number {
  return profile.retransmitMultiplier * Math.ceil(Math.log10(members + 1));
}

/** Between two exchanges of anti-entropy; it stretches as the mesh grows. */
export function syncDelayMs(profile: Profile, members: number): number {
  const { syncIntervalMs } = profile;
  return members <= 32 ? syncIntervalMs : syncIntervalMs * (Math.ceil(Math.log2(members) - 5) + 1);
}
