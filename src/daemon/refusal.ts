/** Why somebody is not let in here, in an operator's words, and what mends it. Pure. */
import { unreachable } from "../base/errors.ts";
import type { Refusal } from "../mesh/arrivals.ts";

export interface RefusalStatus {
  readonly why: Refusal;
  /** Unix ms of the expiry, or of the signing; null where it is about neither. */
  readonly about_ms: number | null;
}

/** Of somebody who asked to be let in. */
export interface RefusedStatus extends RefusalStatus {
  readonly identity: string;
  /** What it calls itself. */
  readonly name: string;
  /** In a row, for this reason. */
  readonly count: number;
  readonly seconds_ago: number;
  /** The operator or an organisation that he trusts wants it here, so there is something to mend. */
  readonly wanted: boolean;
}

export interface RefusalWords {
  readonly words: string;
  readonly mend: string;
}

/** `words` go behind the name of whoever is refused. `wallMs`: now, by this node's clock. */
export function refusalWords(
  { why, about_ms: aboutMs }: RefusalStatus,
  identity: string,
  wallMs: number,
): RefusalWords {
  switch (why) {
    case "not_trusted":
      return { words: "is not trusted here", mend: `run meshvpn trust ${identity}` };
    case "organisation_not_trusted":
      return {
        words: "has the certificate of an organisation that is not trusted here",
        mend: `run meshvpn trust --org ORGANISATION, or meshvpn trust ${identity}`,
      };
    case "revoked":
      return {
        words: "was revoked, and that holds for good",
        mend: "give that machine a new identity (meshvpn keygen --force there), and let that one in",
      };
    case "certificate_expired":
      return {
        words: `has a certificate that expired${aboutMs === null ? "" : ` on ${timeText(aboutMs)}`}`,
        mend: certificateMend(identity),
      };
    case "certificate_invalid":
      return {
        words: "has a certificate that does not hold in this network",
        mend: `${certificateMend(identity)}, signed for this --network`,
      };
    case "other_network":
      return {
        words: "is of another network, or somebody else says to be it",
        mend: "give every node the same --network",
      };
    case "too_old":
      return { words: tooOld(aboutMs, wallMs), mend: "set both clocks: timedatectl set-ntp true" };
    case "invitation":
      return {
        words: "has an invitation that was spent, has expired or was not issued here",
        mend: "give it another: meshvpn invite",
      };
    default:
      return unreachable(why);
  }
}

/** To a node whose certificate has ended. */
export function certificateMend(identity: string): string {
  return `run meshvpn org sign ${identity} where the organisation's key is, and give what it prints to meshvpn trust on that node`;
}

function tooOld(aboutMs: number | null, wallMs: number): string {
  const words = "signs with a clock that is more than a day behind this one";
  return aboutMs === null
    ? words
    : `${words}: ${timeText(aboutMs)} there, ${timeText(wallMs)} here`;
}

/** To the minute, which is enough to tell whose clock is wrong. */
export function timeText(wallMs: number): string {
  return `${new Date(wallMs).toISOString().slice(0, 16).replace("T", " ")} UTC`;
}
