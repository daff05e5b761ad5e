/** `meshvpn exit-node PEER|off`: through whom everything goes that is for no member. */
import { defineCommand } from "citty";
import { readRoutes, writeRoutes } from "../daemon/routes-file.ts";
import { readForwards, strictMend, strictWords } from "./doctor-routes.ts";
import { usageError } from "./errors.ts";
import { findMember } from "./member.ts";
import { nameFor, wordsOf } from "./routes.ts";
import { identityMeant, inForce, placeOf, routeFlags } from "./routes-context.ts";
import { warn } from "./trust-context.ts";

const offerMend =
  "say offer_exit = true in its configuration and run meshvpn reload there, or start it with --offer-exit";

export default defineCommand({
  meta: {
    name: "exit-node",
    description:
      "Send everything that is for no member through one that offers it, or no longer; without a word, say which it is. " +
      "Example: meshvpn exit-node gateway",
  },
  args: {
    peer: {
      type: "positional",
      required: false,
      valueHint: "PEER",
      description: "a member: its name, identity or address; or off",
    },
    ...routeFlags,
  },
  async run(called) {
    const place = await placeOf(called);
    const { directory, status } = place;
    const said = called.args.peer;
    const before = readRoutes(directory, warn);
    if (said === undefined) {
      const exitNode = status === undefined ? before.exitNode : (status.exit_node ?? undefined);
      const name = exitNode && (status === undefined ? exitNode : nameFor(status, exitNode));
      console.log(name ?? "off");
      return;
    }
    if (said === "off") {
      writeRoutes(directory, { ...before, exitNode: undefined });
      const after = await inForce(place);
      if (typeof after?.exit_node === "string") {
        const name = nameFor(after, after.exit_node);
        throw usageError(
          "the exit node is not off",
          `exit_node in the configuration names ${name}`,
          "change it there, and run meshvpn reload",
        );
      }
      console.log("off");
      return;
    }
    const identity = identityMeant(place, String(said));
    const offers = status === undefined ? [] : findMember(status, String(said)).offers;
    const exits = offers.filter((prefix) => prefix.endsWith("/0"));
    if (status !== undefined && exits.length === 0) {
      const why = "it does not offer to be one";
      throw usageError(`${said} is no exit node`, why, offerMend);
    }
    writeRoutes(directory, { ...before, exitNode: identity });
    const after = await inForce(place);
    if (after === undefined) {
      console.log(`${said}, once the daemon runs`);
      return;
    }
    if (after.exit_node !== identity) {
      throw usageError(
        "the exit node is another",
        `exit_node in the configuration names ${nameFor(after, after.exit_node ?? "")}`,
        "change it there, and run meshvpn reload",
      );
    }
    for (const each of after.routes) {
      if (each.identity !== identity || !each.prefix.endsWith("/0")) continue;
      console.log(`${each.prefix} ${each.state}: ${wordsOf(each, after)}`);
    }
    const { strict } = readForwards(after.interface);
    if (strict !== undefined) warn(`${strictWords(strict)}; ${strictMend}`);
    if (exits.length === 1) {
      warn(`${said} takes ${exits[0]} alone: the other family goes where it went before`);
    }
  },
});
