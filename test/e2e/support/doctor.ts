/** Asking doctor as an operator does, and breaking what it is to find. */
import type { Link } from "../../../src/cli/doctor-link.ts";
import { schemaErrors } from "../../support/json-schema.ts";
import type { Node } from "./mesh.ts";
import { type Ran, until } from "./process.ts";
import type { Host } from "./stage.ts";

/** All links, once their form and the exit code are right. */
export function linksOf(ran: Ran): {
  readonly first: Link | null;
  readonly links: readonly Link[];
} {
  const errors = schemaErrors("doctor", ran.stdout);
  if (errors.length > 0) throw new Error(`${errors.join("\n")}\n${ran.stdout}${ran.stderr}`);
  const report = JSON.parse(ran.stdout);
  const code = report.healthy ? 0 : 4;
  if (ran.code !== code) throw new Error(`doctor ended with ${ran.code} in place of ${code}`);
  return { first: report.first_broken, links: report.links };
}

/** The first broken link. */
export async function doctor(node: Node, ...args: string[]): Promise<Link | null> {
  return linksOf(await node.meshvpn("doctor", "--json", ...args)).first;
}

/** Until that link is the first, and its words say so: what gossip and handshakes bring takes a moment. */
export async function untilFirst(
  node: Node,
  link: string | RegExp | null,
  args: readonly string[] = [],
  words: string | RegExp = "",
  timeoutMs = 30_000,
): Promise<Link | null> {
  let last: Ran | undefined;
  return await until(
    `doctor ${args.join(" ")} of ${node.name} to name ${link}`,
    async () => {
      last = await node.meshvpn("doctor", "--json", ...args);
      const { first } = linksOf(last);
      const said = first?.words ?? "";
      const fits = typeof words === "string" ? said.includes(words) : words.test(said);
      const isIt =
        link instanceof RegExp ? link.test(first?.link ?? "") : (first?.link ?? null) === link;
      return isIt && fits ? { first } : undefined;
    },
    { timeoutMs, everyMs: 200, evidence: () => JSON.stringify(last) },
  ).then((found) => found.first);
}

/** Until one of the links is about a refusal in these words. */
export async function untilRefused(node: Node, words: string): Promise<Link> {
  let last: Ran | undefined;
  return await until(
    `doctor of ${node.name} to have refused: ${words}`,
    async () => {
      last = await node.meshvpn("doctor", "--json");
      const { links } = linksOf(last);
      return links.find((each) => each.link === "refused" && each.words.includes(words));
    },
    { timeoutMs: 60_000, everyMs: 200, evidence: () => JSON.stringify(last) },
  );
}

/** Drops what comes in and fits the rule, until `healed`. */
export async function dropping(host: Host, rule: string): Promise<void> {
  await host.runOk(["nft", "add", "table", "inet", "broken"]);
  const chain = "{ type filter hook input priority 0; }";
  await host.runOk(["nft", "add", "chain", "inet", "broken", "in", chain]);
  await host.runOk(["nft", "add", "rule", "inet", "broken", "in", ...rule.split(" "), "drop"]);
}

export async function healed(host: Host): Promise<void> {
  await host.runOk(["nft", "delete", "table", "inet", "broken"]);
}
