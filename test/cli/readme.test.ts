import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { loadVerbs } from "../../lib/cli/verb.ts";
import { verbs } from "../../lib/cli/verbs.ts";
import { exitCodes } from "../../lib/error.ts";
import { readLimits } from "../../lib/spawn/limits.ts";
import { root } from "../tools/harness.ts";

const readme = readFileSync(join(root, "README.md"), "utf8");
const known = new Map(
	(await loadVerbs(verbs)).map((verb) => [verb.name, verb]),
);

/** The rows of the verb tables: the names, and the flags that belong to them. */
const rows = readme
	.split(/^\| verb \| does \|$/m)
	.slice(1)
	.flatMap((text) => text.split("\n\n")[0]?.match(/^\| `.*$/gm) ?? [])
	.map((row) => {
		const [, calls = "", does = ""] = /^\| (.*?) \| (.*) \|$/.exec(row) ?? [];
		return {
			names: [...calls.matchAll(/`([a-z-]+)/g)].map(([, name = ""]) => name),
			flags: [...does.matchAll(/--([a-z-]+)/g)].map(([, flag = ""]) => flag),
		};
	});

test("README has at most 200 lines", () => {
	expect(readme.split("\n").length - 1).toBeLessThanOrEqual(200);
});

test("README's tables have each verb once", () => {
	expect(rows.flatMap(({ names }) => names).sort()).toEqual(
		[...known.keys()].sort(),
	);
});

test.each(rows)("README gives $names only flags they have", (row) => {
	const { names, flags } = row;
	const own = names.flatMap((name) => Object.keys(known.get(name)?.args ?? {}));
	for (const flag of flags) expect(own).toContain(flag);
});

test("the workflow runs README's two commands", () => {
	const path = join(root, ".github", "workflows", "test.yml");
	const commands = readFileSync(path, "utf8").matchAll(/- run: (.*)/g);
	expect([...commands].map(([, command]) => command)).toEqual(
		[...readme.matchAll(/^ {4}(npm install && npm (?:run demo|test)) /gm)].map(
			([, command]) => command,
		),
	);
});

test("README has the exit codes and the limits with their defaults", () => {
	const text = /^- Exit codes: ([\s\S]*?)\./m.exec(readme)?.[1] ?? "";
	const codes = text.split("·").map((part) => Number.parseInt(part.trim(), 10));
	expect(codes.toSorted((a, b) => a - b)).toEqual(
		Object.values(exitCodes).toSorted((a, b) => a - b),
	);
	const limits = readme.matchAll(/^\| `(BG_MAX_\w+)` \|.*\| (\w+) \|$/gm);
	expect(
		Object.fromEntries(
			[...limits].map(([, name, usual]) => [
				name,
				usual === "none" ? Number.POSITIVE_INFINITY : Number(usual),
			]),
		),
	).toEqual(readLimits({}));
});
