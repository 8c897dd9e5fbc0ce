import { expect, test } from "bun:test";
import { readArguments } from "../lib/arguments.ts";
import { renderOverview, renderVerb } from "../lib/help.ts";
import type { Verb } from "../lib/verb.ts";
import { verbs } from "../lib/verbs.ts";

const known = await Promise.all(
	Object.entries(verbs).map(async ([name, { group, load }]) => {
		const verb: Verb = await load();
		return { name, group, ...verb };
	}),
);

test("all verbs fit a screen of 24 lines, its prompt included", () => {
	const lines = renderOverview(known, "10.10.10").split("\n");
	expect(lines.length).toBeLessThanOrEqual(24);
	for (const line of lines) expect(line.length).toBeLessThanOrEqual(80);
	for (const { name } of known)
		expect(lines.some((line) => line.split(/[ ,]+/).includes(name))).toBe(true);
});

test.each(known)("$name has the name it is called by", ({ name, meta }) => {
	expect(meta.name).toBe(name);
});

test.each(known)(
	"the help of $name names all it takes, and no line is cut",
	(verb) => {
		const text = renderVerb(verb);
		expect(text).toStartWith(`usage: bg ${verb.name}`);
		for (const [name, arg] of Object.entries(verb.args))
			expect(text).toContain(`${arg.type === "positional" ? "" : "--"}${name}`);
		for (const line of text.split("\n"))
			expect(line.length).toBeLessThanOrEqual(80);
	},
);

test.each(
	known.flatMap((verb) =>
		verb.examples.map(([line]) => [line, verb] as [string, Verb]),
	),
)("the example %j can be typed like that", (line, verb) => {
	const [, typed = ""] = /\b(bg .*?)( [<>|] .*|\)")?$/.exec(line) ?? [];
	const { stdout } = Bun.spawnSync(["bash", "-c", `printf '%s\\0' ${typed}`]);
	const [bg, name, ...argv] = stdout.toString().split("\0").slice(0, -1);
	expect([bg, name]).toEqual(["bg", verb.meta.name]);
	const parsed = verb.read
		? verb.read(argv)
		: readArguments(verb.meta.name, verb.args, argv);
	expect(parsed.help).toBeUndefined();
});
