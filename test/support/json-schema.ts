/** The schemas of schemas/, as tests ask them. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Ajv2020 } from "ajv/dist/2020.js";

const directory = new URL("../../schemas", import.meta.url).pathname;
const ajv = new Ajv2020({ strict: true, allowUnionTypes: true });

export const schemaNames = readdirSync(directory).map((file) => file.replace(/\.json$/, ""));

const validators = new Map(
  schemaNames.map((name) => [
    name,
    ajv.compile(JSON.parse(readFileSync(join(directory, `${name}.json`), "utf8"))),
  ]),
);

/** What is wrong with it; empty: nothing. */
export function schemaErrors(name: string, text: string): readonly string[] {
  const validate = validators.get(name);
  if (validate === undefined) return [`there is no schemas/${name}.json`];
  if (validate(JSON.parse(text))) return [];
  return (validate.errors ?? []).map(({ instancePath, message }) => `${instancePath}: ${message}`);
}
