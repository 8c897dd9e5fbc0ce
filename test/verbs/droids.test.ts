/** The droids that can be launched: those of files, and those that bg defines itself. */
import { expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { listTaskIds } from "../../lib/store/records.ts";
import { type Sandbox, sandbox, standIn } from "../tools/harness.ts";

const readOnly = ["Read", "LS", "Grep", "Glob"];

/** The droids of the skill that came with background-manager.py. */
const builtIn = {
	"basic-searcher": readOnly,
	explore: readOnly,
	explorer: readOnly,
	librarian: [...readOnly, "WebSearch", "FetchUrl"],
	oracle: [...readOnly, "Execute"],
	"executor-low": "all",
	"executor-med": "all",
	"executor-high": "all",
	hephaestus: "all",
	"code-reviewer": readOnly,
	"security-auditor": readOnly,
	"test-engineer": "all",
};

function define(box: Sandbox, name: string, text: string): string {
	const folder = join(box.home, ".factory", "droids");
	mkdirSync(folder, { recursive: true });
	const path = join(folder, `${name}.md`);
	writeFileSync(path, text);
	return path;
}

test("droids lists all with purpose, tools, model and origin", async () => {
	const box = sandbox();
	const text =
		"---\ndescription: >\n  says what\n  it does\nmodel: m-1\nreasoningEffort: low\ntools: [Read]\n---\nBe brief.";
	const path = define(box, "mine", text);
	define(box, "explore", "---\ndescription: another one\n---\n");
	define(box, "not a name", "---\n---\n");
	const { droids } = (await box.bg(["droids"])).json();
	const find = (name: string) =>
		droids.find((each: { name: string }) => each.name === name);
	expect(find("mine")).toEqual({
		name: "mine",
		purpose: "says what it does",
		tools: ["Read"],
		model: "m-1",
		effort: "low",
		origin: "home",
		path,
	});
	expect(find("explore")).toMatchObject({
		purpose: "another one",
		tools: "all",
		origin: "home",
	});
	for (const [name, tools] of Object.entries(builtIn))
		if (name !== "explore")
			expect(find(name)).toMatchObject({
				purpose: expect.stringMatching(/^[a-z].{5,50}$/),
				tools,
				model: "inherit",
				origin: "built-in",
			});
	const names = droids.map(({ name }: { name: string }) => name);
	expect(names).toEqual([...Object.keys(builtIn), "mine"].sort());
	const table = (await box.bg(["droids", "--text"])).stdout;
	expect(table).toMatch(/^DROID +ORIGIN +MODEL +TOOLS +PURPOSE\n/);
	expect(table).toMatch(/\nmine +home +m-1 low +Read +says what it does\n/);
	expect(table).toMatch(/\nlibrarian +built-in +inherit +read-only,WebS/);
});

test("a definition that cannot be read is listed with its problem, and is not launched", async () => {
	const box = sandbox();
	box.env.BG_DROID = standIn;
	const path = define(box, "code-reviewer", "");
	Bun.spawnSync(["sh", "-c", 'rm "$0" && mkdir "$0"', path]);
	const { droids } = (await box.bg(["droids"])).json();
	const [listed] = droids.filter(
		({ name }: { name: string }) => name === "code-reviewer",
	);
	expect(listed.warnings[0]).toContain(`unable to read ${path}`);
	const answer = await box.bg(["launch", "d", "p", "code-reviewer"]);
	expect(answer.code).toBe(2);
	expect(answer.error).toContain(`unable to read ${path}`);
});

test("an unusable list of tools lets a droid only read", async () => {
	const box = sandbox();
	box.env.BG_DROID = standIn;
	define(box, "mine", "---\ntools: [--x]\n---\n");
	const answer = await box.bg(["launch", "d", "SAY[x]", "mine"]);
	const { id, warnings } = answer.json();
	expect(warnings[0]).toContain("it can only read");
	expect(box.record(id).command).toContain(readOnly.join(","));
	await box.bg(["wait", id]);
});

test.each([
	["explroer", "explorer"],
	["code-reviwer", "code-reviewer"],
	["reviewer", "code-reviewer"],
	["executor", "executor-low"],
	["exectuor-med", "executor-med"],
	["mien", "mine"],
])(
	"a droid %j that is nowhere is a usage error that names %s",
	async (name, closest) => {
		const box = sandbox();
		box.env.BG_DROID = standIn;
		define(box, "mine", "---\n---\n");
		for (const words of [[name], ["--droid", name]]) {
			const { code, error } = await box.bg(["launch", "d", "p", ...words]);
			expect(code).toBe(2);
			expect(error).toMatch(
				new RegExp(
					`there is no droid "${name}": the closest is ${closest} \\(\\S+ droids lists all\\)\n$`,
				),
			);
		}
		const input = JSON.stringify({
			description: "d",
			prompt: "p",
			droid: name,
		});
		const batch = await box.bg(["launch", "--batch", "-"], { input });
		expect(batch.code).toBe(2);
		expect(batch.error).toContain(`the closest is ${closest}`);
		expect(listTaskIds(box)).toEqual([]);
	},
);

test.each(Object.entries(builtIn))(
	"the built-in droid %s is launched with its tools",
	async (name, tools) => {
		const box = sandbox();
		box.env.BG_DROID = standIn;
		const answer = await box.bg(["launch", "d", "SAY[x]", "--droid", name]);
		expect(answer).toMatchObject({ code: 0, stderr: "" });
		const { id, warnings } = answer.json();
		expect(warnings).toBeUndefined();
		const command = box.record(id).command ?? [];
		const given = command[command.indexOf("--only-tools") + 1];
		if (tools === "all") expect(command).not.toContain("--only-tools");
		else expect(given).toBe((tools as string[]).join(","));
		expect(command).not.toContain("-m");
		expect((await box.bg(["wait", id])).code).toBe(0);
	},
);
