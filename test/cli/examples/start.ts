/** The examples of the verbs that start tasks. */
import { expect } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Example } from "./world.ts";

export const startExamples: Record<string, Example> = {
	'bg launch "fix the tests" "Run the tests and fix what fails."': {
		check: async (_, world) =>
			expect(await world.newest()).toMatchObject({
				description: "fix the tests",
				prompt: "Run the tests and fix what fails.",
				agent: "executor-med",
			}),
	},
	'bg launch -q "review" "Review the last commit." --droid code-reviewer': {
		check: async ({ stdout }, world) => {
			const { id, agent } = await world.newest();
			expect({ stdout, agent }).toEqual({
				stdout: `${id}\n`,
				agent: "code-reviewer",
			});
		},
	},
	"bg launch --batch tasks.jsonl": {
		before: ({ project }) => {
			const line = JSON.stringify({ description: "d", command: ["true"] });
			writeFileSync(join(project, "tasks.jsonl"), `${line}\n${line}\n`);
		},
		check: ({ json }) => expect(json().tasks).toHaveLength(2),
	},
	'bg run "build" -- make -j8': {
		check: async (_, world) => {
			const { id } = await world.newest();
			await world.bg(["wait", id]);
			expect(world.record(id)).toMatchObject({ result: "make -j8" });
		},
	},
	'bg run --timeout 10m --after @last "test" -- npm test': {
		before: (world) => world.last(),
		check: async (_, world) =>
			expect(await world.newest()).toMatchObject({
				status: "queued",
				timeout_ms: 600_000,
				command: ["npm", "test"],
			}),
	},
	'bg resume @last "Now write a test for it."': {
		before: (world) => world.say(),
		check: async (_, world) =>
			expect(await world.newest()).toMatchObject({
				prompt: "Now write a test for it.",
				resume_of: expect.stringMatching(/^bg_/),
			}),
	},
	'bg resume --fork @last "Try it another way."': {
		before: (world) => world.say(),
		check: async (_, world) =>
			expect((await world.newest()).command?.at(-2)).toBe("--fork"),
	},
	"bg retry @last": {
		before: (world) => world.say(),
		check: async (_, world) =>
			expect((await world.newest()).retry_of).toMatch(/^bg_/),
	},
	"git diff | bg run --stdin - 'lint' -- sh check.sh": {
		before: ({ project, git }) => {
			writeFileSync(join(project, "check.sh"), "cat\n");
			writeFileSync(join(project, "fruit"), "plum\n");
			git(["add", "-N", "fruit"]);
		},
		check: async (_, { bg, newest }) => {
			await bg(["wait"]);
			expect((await newest()).result).toContain("+plum");
		},
	},
	'bg run --wait "test" -- npm test': {
		check: ({ json }) => expect(json()).toMatchObject({ result: "npm test" }),
	},
	"bg retry @last --model MODEL --autonomy high": {
		before: ({ say }) => say(),
		check: async (_, { newest }) =>
			expect(await newest()).toMatchObject({
				retry_of: expect.stringMatching(/^bg_/),
				model: "MODEL",
				autonomy: "high",
			}),
	},
	"bg retry --status error --tag nightly": {
		before: async ({ bg, run }) => {
			const failing = ["run", "--tag", "nightly", "d", "--", "false"];
			const { id } = (await bg(failing)).json();
			await run(["false"]);
			await bg(["wait", id]);
		},
		check: ({ json }) => expect(json().tasks).toHaveLength(1),
	},
};
