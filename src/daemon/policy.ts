/**
 * Keeps the data plane's rules in step with the policy and with who is who: addresses of members move,
 * and the operator renames them. A policy that cannot be read at the start ends the daemon, and at a
 * reload leaves the former one in force: a mistake never opens anything.
 */
import { type CompiledRule, compilePolicy, openPolicy, type Policy } from "../trust/policy.ts";
import { readPolicy } from "./policy-file.ts";
import type { MemberStatus } from "./status.ts";

export interface PolicyPlane {
  /** In place of all rules before. MeshError where they find no room. */
  setPolicy(rules: readonly CompiledRule[], allowOthers: boolean): void;
}

export class PolicyKeeper {
  readonly #stateDirectory: string;
  readonly #plane: PolicyPlane;
  #policy: Policy = openPolicy;
  /** What the data plane was given, as text. */
  #given = JSON.stringify([true, []]);

  constructor(stateDirectory: string, plane: PolicyPlane) {
    this.#stateDirectory = stateDirectory;
    this.#plane = plane;
  }

  /** MeshError where the file is wrong; what was in force stays. */
  read(members: () => readonly MemberStatus[]): void {
    this.#policy = readPolicy(this.#stateDirectory);
    this.update(members);
  }

  /** After anything that may have changed who has which address. */
  update(members: () => readonly MemberStatus[]): void {
    const { rules, default: fallback } = this.#policy;
    const compiled = rules.length === 0 ? [] : compilePolicy(this.#policy, members());
    const allowOthers = fallback === "allow";
    const text = JSON.stringify([allowOthers, compiled]);
    if (text === this.#given) return;
    this.#plane.setPolicy(compiled, allowOthers);
    this.#given = text;
  }
}
