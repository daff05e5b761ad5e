/** The tables of docs/SECURITY.md are true as far as a test can tell: what they name is there. */
import { expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dir, "../..");
const page = readFileSync(join(root, "docs/SECURITY.md"), "utf8");

/** The rows of the table below that heading, without its head. */
function rows(heading: string): string[][] {
  const [, after = ""] = page.split(`## ${heading}\n`);
  const [section = ""] = after.split("\n## ");
  return section
    .split("\n")
    .filter((line) => line.startsWith("|"))
    .slice(2)
    .map((line) => line.split("|").map((cell) => cell.trim()))
    .map((cells) => cells.slice(1, -1));
}

/** `file`: "title of a test", as often as there are. */
function proofs(cell: string): { file: string; title: string }[] {
  return [...cell.matchAll(/`([^`]+)`: "([^"]+)"/g)].map(([, file = "", title = ""]) => ({
    file,
    title,
  }));
}

function expectThere(cell: string): void {
  const named = proofs(cell);
  expect(named.map(({ file, title }) => `\`${file}\`: "${title}"`).join("; ")).toBe(cell);
  for (const { file, title } of named) {
    const found = existsSync(join(root, file)) && readFileSync(join(root, file), "utf8");
    if (found === false || !found.includes(`"${title}`)) throw new Error(`${file}: no "${title}"`);
  }
}

test("each of the 42 rules has a file that keeps it, and a test that proves it", () => {
  const rules = rows("The rules of WireGuard");
  expect(rules.map(([number]) => Number(number))).toEqual(
    Array.from({ length: 42 }, (_, index) => index + 1),
  );
  for (const [, rule = "", files = "", proof = ""] of rules) {
    expect(rule).not.toBe("");
    for (const file of files.split(", "))
      expect([file, existsSync(join(root, file))]).toEqual([file, true]);
    expectThere(proof);
  }
});

test("each of the 32 findings has a reason, and a test where there is code to test", () => {
  const findings = rows("The findings of the origin's review");
  expect(findings.length).toBe(32);
  for (const [, finding = "", reason = "", proof = ""] of findings) {
    expect([finding, reason]).not.toContain("");
    if (proof !== "none: no such code") expectThere(proof);
  }
});
