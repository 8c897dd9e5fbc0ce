import { expect, test } from "bun:test";
import fc from "fast-check";
import { checkArguments, splitValues } from "../../lib/cli/arguments.ts";
import { program, sandbox } from "../tools/harness.ts";

const args = {
	first: { type: "positional", required: true },
	more: { type: "positional", required: false, multiple: true },
	"max-size": { type: "string", alias: "m" },
	tag: { type: "string", multiple: true },
	worktree: { type: "string", inline: true },
	all: { type: "boolean" },
} as const;

const text = fc.oneof(
	fc.constantFrom(
		"--no-all",
		"--all",
		"-m",
		"--",
		"",
		"--tag=x",
		"a\nb",
		"=",
		"-",
	),
	fc.string({ unit: "binary" }).map((each) => each.replaceAll("\0", "")),
);

test("every value arrives, byte for byte", () => {
	fc.assert(
		fc.property(
			fc.array(text, { minLength: 1, maxLength: 4 }),
			fc.array(text, { maxLength: 3 }),
			fc.option(text, { nil: undefined }),
			fc.boolean(),
			(positionals, tags, size, all) => {
				const argv = [
					...tags.map((tag) => `--tag=${tag}`),
					...(size === undefined ? [] : ["-m", size]),
					...(all ? ["--all"] : []),
					"--",
					...positionals,
				];
				const { values } = checkArguments("test", args, argv);
				const [first, ...more] = positionals;
				expect(values.first).toBe(first);
				expect(splitValues(values.more as string | undefined)).toEqual(more);
				expect(splitValues(values.tag as string | undefined)).toEqual(tags);
				expect(values["max-size"]).toBe(size);
				expect(values.all).toBe(all || undefined);
				expect(values.worktree).toBeUndefined();
			},
		),
		{ numRuns: 2000 },
	);
});

test.each([
	[["--unknown", "a"], "no flag --unknown"],
	[["--maxSize", "1", "a"], "no flag --maxSize"],
	[["--no-all", "a"], "no flag --no-all"],
	[["--max-size", "1", "-m", "2", "a"], "given twice"],
	[["a", "--max-size"], "needs a value"],
	[["--all=false", "a"], "takes no value"],
	[[], "needs <first>"],
])("%j is refused, which citty accepts or changes", (argv, words) => {
	expect(() => checkArguments("test", args, argv)).toThrow(words);
});

test("text after -- reaches the command and the record unchanged in every runtime", async () => {
	const box = sandbox();
	const words = ["--no-color", "-x", "", "--", "a\nb", "--tag=x"];
	const script = 'for each; do printf "%s|" "$each"; done';
	const id = await box.run(["sh", "-c", script, "sh", ...words]);
	await box.bg(["wait", id]);
	expect(box.record(id).command?.slice(-words.length)).toEqual(words);
	const raw = await box.bg(["output", "--raw", id], { argv: program });
	expect(raw.stdout).toBe(words.map((word) => `${word}|`).join(""));
	const refused = await box.bg([
		"complete",
		id,
		"--",
		"--no-result",
		"--no-error",
	]);
	expect(refused.json()).toMatchObject({ taskId: id, completed: false });
});
