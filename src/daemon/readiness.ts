/**
 * Whether a node does what it is there for: it takes part, and reaches somebody where somebody is
 * expected. One rule for /readyz, the metric and `status --check`.
 */
import { isReached, type MeshStatus } from "./status.ts";

export interface Readiness {
  readonly ready: boolean;
  /** One line. */
  readonly why: string;
}

export function readiness({ trusted, members, joining }: MeshStatus): Readiness {
  if (joining) return { ready: false, why: "the invitation is not redeemed yet" };
  if (trusted === 0 && members.length === 0) {
    return { ready: true, why: "nobody is trusted, so nobody is expected" };
  }
  const connected = members.filter(isReached).length;
  const expected = Math.max(trusted, members.length);
  if (connected === 0) return { ready: false, why: `none of ${expected} members is connected` };
  return { ready: true, why: `${connected} of ${expected} members are connected` };
}
