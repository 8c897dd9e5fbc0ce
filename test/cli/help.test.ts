import { expect, test } from "bun:test";
import { renderOverview, renderVerb } from "../../lib/cli/help/help.ts";
import { renderMan } from "../../lib/cli/help/man.ts";
import {
	checkCall,
	foreignVerbs,
	loadVerbs,
	type Verb,
} from "../../lib/cli/verb.ts";
import { verbs } from "../../lib/cli/verbs.ts";

const known = (await loadVerbs(verbs)).map((verb, index) => ({
	key: Object.keys(verbs)[index] ?? "",
	...verb,
}));

const more = [["other", "inspect"]] as const;

/** The real table with one more verb. */
const longer = await loadVerbs({
	...verbs,
	...Object.fromEntries(
		more.map(([name, group]) => {
			const description = "Show or change something, in some way";
			const examples = { [name]: "it" };
			const verb: Verb = { name, description, group, args: {}, examples };
			return [name, async () => ({ default: verb })];
		}),
	),
});

test.each([
	["all verbs", known],
	["one more verb", longer],
] as [string, Verb[]][])(
	"%s fit a screen of 24 lines, its prompt included",
	(_, table) => {
		const lines = renderOverview(table, "10.10.10").split("\n");
		expect(lines.length).toBeLessThanOrEqual(24);
		for (const line of lines) expect(line.length).toBeLessThanOrEqual(80);
		for (const { name } of table)
			expect(lines.some((line) => line.split(/ +/).includes(name))).toBe(true);
	},
);

test("pause and unpause say what --queue does", () => {
	const help = (name: string) =>
		known.flatMap((verb) => (verb.name === name ? renderVerb(verb) : []));
	expect(help("pause").join()).toContain("nothing new starts");
	expect(help("unpause").join()).not.toContain("nothing new starts");
});

test("a verb of the table is in the overview and the man page without another edit", () => {
	expect(longer).toHaveLength(known.length + more.length);
	for (const [name] of more)
		expect(renderMan(longer, "1.0")).toContain(`.SS "bg ${name}"`);
});

test.each(known)("$key has the name it is called by", ({ key, name }) => {
	expect(name).toBe(key);
});

test.each(known)("the help of $name has an example", ({ examples }) => {
	expect(Object.keys(examples)).not.toBeEmpty();
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
		Object.keys(verb.examples).map((line) => [line, verb] as [string, Verb]),
	),
)("the example %j can be typed like that", (line, verb) => {
	const [, typed = ""] = /\b(bg .*?)( [<>|] .*|\)")?$/.exec(line) ?? [];
	const { stdout } = Bun.spawnSync(["bash", "-c", `printf '%s\\0' ${typed}`]);
	const [bg, name, ...argv] = stdout.toString().split("\0").slice(0, -1);
	expect([bg, name]).toEqual(["bg", verb.name]);
	expect(checkCall(verb, argv).values.help).toBeUndefined();
});

test("the man page has all verbs with all they take, and no word is taken for a request", () => {
	const page = renderMan(known, "1.0");
	const requests = page.match(/^[.'].*/gm) ?? [];
	for (const request of requests)
		expect(request).toMatch(/^\.(TH BG 1|S[HS] "|B bg$|PP$|TP$|nf$|fi$)/);
	for (const verb of known) {
		const at = page.indexOf(`.SS "bg ${verb.name.replaceAll("-", "\\-")}`);
		expect(at).toBeGreaterThan(0);
		const own = page.slice(at, page.indexOf("\n.S", at + 1));
		for (const name of Object.keys(verb.args))
			expect(own).toContain(name.replaceAll("-", "\\-"));
	}
});

const readers = [
	["groff", "-man", "-ww", "-Tascii", "-P-cbou"],
	["mandoc", "-Tascii", "-Werror"],
].filter(([reader = ""]) => {
	if (!Bun.which(reader)) console.log(`not on PATH, so not tried: ${reader}`);
	return Bun.which(reader);
});

const backspace = String.fromCharCode(8);
const overstruck = new RegExp(`.${backspace}`, "g");

test.each(readers)("%s shows the man page without a complaint", (...reader) => {
	const { stdout, stderr } = Bun.spawnSync(reader, {
		stdin: Buffer.from(renderMan(known, "1.0")),
	});
	expect(stderr.toString()).toBe("");
	const shown = stdout.toString().replace(overstruck, "");
	for (const { name, examples } of known) {
		expect(shown).toContain(`bg ${name}`);
		for (const line of Object.keys(examples)) expect(shown).toContain(line);
	}
});

test.each(Object.entries(foreignVerbs))(
	"%s of other programs is no verb, and leads to one: %s",
	(foreign, call) => {
		expect(Object.keys(verbs)).not.toContain(foreign);
		const [, name] = /^bg ([a-z]+)/.exec(call) ?? [];
		expect(Object.keys(verbs)).toContain(name as string);
	},
);
