/** The examples of the verbs that inspect tasks. */
import { expect } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { untilWatching } from "../../tools/harness.ts";
import { parent } from "../../tools/hooks.ts";
import { addOld, type Example, oldId, prints, type World } from "./world.ts";

const tree = (world: World) => world.work("plum", "echo grown > fruit");

const watched: Example = {
	before: (world) => world.last(),
	keys: "q",
	check: prints(/sleep|a long one/),
};

export const inspectExamples: Record<string, Example> = {
	"bg list --status queued,running": {
		before: async (world) => {
			await world.say();
			await world.last();
		},
		check: ({ json }) =>
			expect(json()).toMatchObject({
				total: 1,
				tasks: [{ status: "running" }],
			}),
	},
	"bg list --all --limit 0": {
		before: async (world) => {
			addOld(world);
			await world.bg(["cleanup"]);
		},
		check: ({ json }) => expect(json().tasks).toMatchObject([{ id: oldId }]),
	},
	"bg list --tag nightly --full --json": {
		before: async (world) => {
			await world.say();
			await world.last("--tag", "nightly");
		},
		check: ({ json }) =>
			expect(json().tasks).toMatchObject([
				{ tags: ["nightly"], command: ["sleep", "600"] },
			]),
	},
	"bg status @last": {
		before: (world) => world.say(),
		check: ({ json }) => expect(json()).toMatchObject({ result: "Done." }),
	},
	"bg status @last --full --json": {
		before: (world) => world.say("x".repeat(3000)),
		check: ({ json }) => expect(json().result).toHaveLength(3000),
	},
	"bg output @last --tail 20": {
		before: (world) => world.say(),
		check: prints("Done.\n"),
	},
	"bg output bg_19f0c2a4 --follow": {
		before: (world) => addOld(world),
		check: prints("an old line\n"),
	},
	"bg output @last --since 4096 --json": {
		before: async (world) => {
			addOld(world);
			const path = join(world.dir, `${oldId}.out`);
			writeFileSync(path, `${"x".repeat(4095)}\nthe rest\n`);
		},
		check: ({ json }) =>
			expect(json().tasks).toMatchObject([{ output: "the rest\n" }]),
	},
	"bg result @last": {
		before: (world) => world.say(),
		check: ({ stdout }) => expect(stdout).toBe("Done.\n"),
	},
	"bg result @last --since 65536": {
		before: (world) => world.say(`${"x".repeat(65536)}the rest`),
		check: ({ stdout }) => expect(stdout).toBe("the rest\n"),
	},
	"bg report": {
		before: (world) => world.say(),
		check: prints("## Background Tasks", "`Done.`"),
	},
	"bg report --all": {
		before: async (world) => {
			addOld(world);
			await world.bg(["cleanup"]);
		},
		check: prints(oldId),
	},
	"bg diff @last": { before: tree, check: prints("+grown\n") },
	"bg diff @last --stat": { before: tree, check: prints("1 file changed") },
	"bg droids": { check: prints("executor-med", "code-reviewer") },
	"bg droids --json": {
		check: ({ json }) => expect(json().droids[0].tools).toBeDefined(),
	},
	"bg wait": {
		before: ({ env, run }) => {
			env.BG_SESSION_ID = parent;
			return run(["true"]);
		},
		check: ({ json }) =>
			expect(json()).toMatchObject({ tasks: [{ status: "completed" }] }),
	},
	"bg wait --any --timeout 10m": {
		before: async ({ env, run, last }) => {
			// In a session an end that came before is waited for, too.
			env.BG_SESSION_ID = parent;
			await last();
			await run(["true"]);
		},
		check: ({ json }) =>
			expect(json()).toMatchObject({
				tasks: [{ status: "completed" }],
				running: [expect.stringMatching(/^bg_/)],
			}),
	},
	"bg watch": watched,
	"bg watch --tag nightly": {
		...watched,
		before: async (world) => {
			addOld(world);
			await world.last("--tag", "nightly");
		},
		check: prints(/1 of 8 running[^,]*a long one[\s\S]*showing 1 of 1/),
	},
	"NO_COLOR=1 bg watch": {
		...watched,
		check: (answer) => {
			prints(/a long one/)(answer);
			// The cursor is moved, and no text has a colour.
			expect(answer.stdout.split("\u001b[m")[0]).not.toMatch(/\[\d*m/);
		},
	},
	"bg list --since 2h --tag nightly": {
		before: async (world) => {
			addOld(world, { tags: ["nightly"] });
			await world.last("--tag", "nightly");
		},
		check: ({ json }) => expect(json()).toMatchObject({ total: 1, running: 1 }),
	},
	"bg list -q --status running": {
		before: ({ last }) => last(),
		check: async ({ stdout }, { newest }) =>
			expect(stdout).toBe(`${(await newest()).id}\n`),
	},
	"bg output --tag nightly --tail 5": {
		before: (world) => addOld(world, { tags: ["nightly"] }),
		check: prints("an old line"),
	},
	"bg result --tag nightly --status completed": {
		before: (world) =>
			addOld(world, { tags: ["nightly"], result: "It works." }),
		check: prints("It works."),
	},
	"bg report --tag nightly --status error": {
		before: async (world) => {
			await world.say();
			const failed = { status: "error", error: "exited 3" } as const;
			addOld(world, { tags: ["nightly"], ...failed });
		},
		check: ({ stdout }) => {
			expect(stdout).toContain("exited 3");
			expect(stdout).not.toContain("Done.");
		},
	},
	"bg wait --tag nightly": {
		before: async ({ bg, last }) => {
			await last();
			const gate = "until [ -e go ]; do sleep 0.2; done";
			await bg(["run", "--tag", "nightly", "d", "--", "sh", "-c", gate]);
		},
		during: async (world) => {
			await untilWatching(world, "wait --tag");
			writeFileSync(join(world.project, "go"), "");
		},
		check: ({ json }) =>
			expect(json()).toMatchObject({
				tasks: [{ status: "completed" }],
				running: [],
			}),
	},
};
