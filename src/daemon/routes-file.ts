/** What was approved here of members' offers, by command, below the state directory. */
import { join } from "node:path";
import { formatPrefix } from "../base/ip.ts";
import { formatIdentity, parseIdentity } from "../trust/identity.ts";
import { type Approval, approvalsMax } from "../trust/routes.ts";
import { parseNetwork } from "./config.ts";
import { attempt, isSchema, readState, schema, type Warn, writeWhole } from "./files.ts";

const file = "routes.json";
const bytesMax = 64 * 1024;

export interface ApprovedRoutes {
  /** In the order in which they were approved. */
  readonly approved: readonly Approval[];
  /** An identity. */
  readonly exitNode: string | undefined;
}

const none: ApprovedRoutes = { approved: [], exitNode: undefined };

/** A damaged file is moved aside: then nothing is approved. */
export function readRoutes(directory: string, warn: Warn): ApprovedRoutes {
  return readState(join(directory, file), bytesMax, decode, warn) ?? none;
}

export function writeRoutes(directory: string, { approved, exitNode }: ApprovedRoutes): void {
  const text = JSON.stringify({
    schema,
    approved: approved.map(({ identity, prefix }) => ({ identity, prefix: formatPrefix(prefix) })),
    exit_node: exitNode ?? null,
  });
  attempt("remember what is approved", directory, () =>
    writeWhole(join(directory, file), `${text}\n`),
  );
}

function decode(value: unknown): ApprovedRoutes | undefined {
  if (!isSchema(value) || !Array.isArray(value.approved)) return undefined;
  if (value.approved.length > approvalsMax) return undefined;
  const approved: Approval[] = [];
  for (const each of value.approved as readonly Readonly<Record<string, unknown>>[]) {
    const identity = identityText(each?.identity);
    const prefix = typeof each?.prefix === "string" ? parseNetwork(each.prefix) : undefined;
    if (identity === undefined || prefix === undefined) return undefined;
    approved.push({ identity, prefix });
  }
  if (value.exit_node === null) return { approved, exitNode: undefined };
  const exitNode = identityText(value.exit_node);
  return exitNode === undefined ? undefined : { approved, exitNode };
}

function identityText(value: unknown): string | undefined {
  const identity = typeof value === "string" ? parseIdentity(value) : undefined;
  return identity && formatIdentity(identity);
}
