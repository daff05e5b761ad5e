/**
 * Keeps the data plane's rules in step with the policy and with who is who: members come, go and get
 * other certificates, and the operator renames them. A policy that cannot be read at the start ends the
 * daemon, and at a reload leaves the former one in force: a mistake never opens anything.
 */
import type { NamedPeer, PeerRef } from "../mesh/dataplane.ts";
import type { NodeEvent } from "../mesh/node.ts";
import type { Certificate } from "../trust/certificate.ts";
import { formatIdentity } from "../trust/identity.ts";
import {
  type CompiledRule,
  compilePolicy,
  type OrganisationNames,
  openPolicy,
  type Policy,
  type PolicyMember,
  type PolicyStanding,
  rulesNaming,
  standing,
} from "../trust/policy.ts";
import { readPolicy } from "./policy-file.ts";

export interface PolicyPlane {
  /** In place of all rules before. MeshError where they find no room. */
  setPolicy(
    rules: readonly CompiledRule[],
    named: readonly NamedPeer[],
    how: { readonly allowOthers: boolean; readonly keepFlows: boolean },
  ): void;
}

/** A member, as far as the policy asks. */
export interface Admitted {
  readonly identity: string;
  readonly peer: PeerRef | undefined;
  readonly certificate: Certificate | undefined;
}

/** A member with a peer, and the rules that name it. */
interface NamedMember extends NamedPeer {
  readonly identity: string;
}

/** Who is who, as it is now. */
export interface Persons {
  isMember(identity: string): boolean;
  /** Members that have a peer, by which alone packets come. */
  present(): readonly Admitted[];
  certificateOf(identity: string): Certificate | undefined;
  /** The operator's own word; empty: there is none. */
  givenName(identity: string): string;
  organisations(): OrganisationNames;
  /** This node's address in the mesh. */
  own(): string;
}

export class PolicyKeeper {
  readonly #stateDirectory: string;
  readonly #plane: PolicyPlane;
  readonly #persons: Persons;
  #policy: Policy = openPolicy;
  #compiled: readonly CompiledRule[] = [];
  /** What the data plane has: the policy, and of each member with a peer that rules name, which and which. */
  #given: Policy = openPolicy;
  #givenNamed: ReadonlyMap<string, NamedMember> = new Map();

  constructor(stateDirectory: string, plane: PolicyPlane, persons: Persons) {
    this.#stateDirectory = stateDirectory;
    this.#plane = plane;
    this.#persons = persons;
  }

  /** MeshError where the file is wrong; what was in force stays. */
  read(): void {
    const policy = readPolicy(this.#stateDirectory);
    if (!Bun.deepEquals(policy, this.#policy)) {
      this.#policy = policy;
      this.#compiled = compilePolicy(policy, this.#persons.own());
    }
    this.update();
  }

  /** After anything that may have changed who is who. */
  update(): void {
    const isNew = this.#given !== this.#policy;
    const hasNamed = this.#compiled.some(({ named }) => named);
    if (!isNew && !hasNamed) return;
    const named = hasNamed ? this.#named() : [];
    const now = new Map(named.map((each) => [each.identity, each]));
    const before = [...this.#givenNamed.values()];
    const isAsBefore = before.every((each) => Bun.deepEquals(now.get(each.identity), each));
    if (!isNew && isAsBefore && now.size === before.length) return;
    // Nobody whom rules named before is named by others now, so nothing is to be judged anew. Whose
    // peer went because nothing wanted it has lost no right.
    const kept = before.every(({ identity, rules }) => {
      const is = now.get(identity)?.rules ?? this.#rulesOf(identity);
      return is.join() === rules.join();
    });
    const how = { allowOthers: this.#policy.default === "allow", keepFlows: !isNew && kept };
    const peers = named.map(({ peer, rules }) => ({ peer, rules }));
    this.#plane.setPolicy(this.#compiled, peers, how);
    this.#given = this.#policy;
    this.#givenNamed = now;
  }

  /** What the member may begin here, for doctor. */
  standing(identity: string): PolicyStanding {
    const givenName = this.#persons.givenName(identity);
    const member = policyMember(identity, givenName, this.#persons.certificateOf(identity));
    return standing(this.#policy, member, this.#persons.own(), this.#persons.organisations());
  }

  #named(): readonly NamedMember[] {
    const organisations = this.#persons.organisations();
    return this.#persons.present().flatMap(({ identity, peer, certificate }): NamedMember[] => {
      if (peer === undefined) return [];
      const rules = this.#rulesNaming(identity, certificate, organisations);
      return rules.length === 0 ? [] : [{ identity, peer, rules }];
    });
  }

  /** Of a member, whether it has a peer or not. */
  #rulesOf(identity: string): readonly number[] {
    if (!this.#persons.isMember(identity)) return [];
    const certificate = this.#persons.certificateOf(identity);
    return this.#rulesNaming(identity, certificate, this.#persons.organisations());
  }

  #rulesNaming(
    identity: string,
    certificate: Certificate | undefined,
    organisations: OrganisationNames,
  ): readonly number[] {
    const member = policyMember(identity, this.#persons.givenName(identity), certificate);
    return rulesNaming(this.#policy, member, organisations);
  }
}

const whoIsWho: readonly NodeEvent["kind"][] = [
  ...(["member_joined", "member_left", "member_state", "session_up"] as const),
  ...(["peer_coming", "peer_resting", "persist_member", "persist_statements"] as const),
];

/** Whether after this report somebody may be another, have other rights, or offer something else. */
export function concernsMembers({ kind }: NodeEvent): boolean {
  return whoIsWho.includes(kind);
}

export function policyMember(
  identity: string,
  givenName: string,
  certificate: Certificate | undefined,
): PolicyMember {
  return {
    identity,
    given_name: givenName,
    organisation: certificate && formatIdentity(certificate.organisation),
    groups: certificate?.groups ?? [],
  };
}
