/** The examples of the verbs that install and maintain. */
import { expect } from "bun:test";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { addTask, parent, stopOf } from "../../tools/hooks.ts";
import { addOld, type Example, finished, oldId, prints } from "./world.ts";

export const maintainExamples: Record<string, Example> = {
	"bg prune --dry-run": {
		before: (world) => addTask(world),
		check: ({ json }) => expect(json()).toMatchObject({ dryRun: true }),
	},
	"bg prune --ttl 2h": {
		before: (world) => world.last(),
		check: async ({ json }, world) => {
			expect(json().removed).toEqual([]);
			expect((await world.newest()).status).toBe("running");
		},
	},
	"bg cleanup": {
		before: (world) => addOld(world),
		check: async ({ json }, { bg, dir }) => {
			expect(json().archived).toEqual([oldId]);
			expect((await bg(["list"])).json().total).toBe(0);
			expect(existsSync(join(dir, `${oldId}.out`))).toBe(true);
		},
	},
	"bg cleanup --delete --older-than 30d": {
		before: async (world) => {
			addOld(world);
			await world.say();
		},
		check: ({ json }, { dir }) => {
			expect(json().deleted).toEqual([oldId]);
			expect(existsSync(join(dir, `${oldId}.out`))).toBe(false);
		},
	},
	"bg install": {
		check: (_, { home }) =>
			expect(existsSync(join(home, ".factory", "hooks.json"))).toBe(true),
	},
	"bg install --plugin ~/bg-plugin": {
		check: ({ json }, { home }) => {
			expect(json().next.at(-1)).toStartWith("droid plugin install");
			expect(existsSync(join(home, "bg-plugin"))).toBe(true);
		},
	},
	"bg uninstall --dry-run": {
		before: ({ bg }) => bg(["install"]),
		check: ({ json }, { home }) => {
			expect(json().files).toHaveLength(4);
			expect(existsSync(join(home, ".factory", "hooks.json"))).toBe(true);
		},
	},
	"bg uninstall --project": {
		before: ({ bg }) => bg(["install", "--project"]),
		check: (_, { project }) =>
			expect(existsSync(join(project, ".factory"))).toBe(false),
	},
	"bg doctor": { check: prints('"check":"store"') },
	"bg doctor --json": {
		check: ({ json }) =>
			expect(json().checks.some((each: object) => "fix" in each)).toBe(true),
	},
	"bg help wait": {
		check: async ({ stdout }, { bg }) =>
			expect((await bg(["wait", "--help"])).stdout).toBe(stdout),
	},
	"bg help --man > bg.1": {
		check: (_, { project }) =>
			expect(readFileSync(join(project, "bg.1"), "utf8")).toStartWith(".TH BG"),
	},
	'eval "$(env bg completion bash)"': {
		shell: "bash",
		check: prints("bg is a function", /complete .* bg\n/),
	},
	'eval "$(env bg completion zsh)"': {
		shell: "zsh",
		check: prints(/compdef|function/),
	},
	"env bg completion fish | source": {
		shell: "fish",
		check: prints(/complete/),
	},
	"bg hook < event.json": {
		before: ({ project }) =>
			writeFileSync(
				join(project, "event.json"),
				JSON.stringify({ hook_event_name: "Stop", session_id: "x" }),
			),
		check: ({ stdout }) => expect(stdout).toBe(""),
	},
	'echo \'{"hook_event_name":"SessionEnd","session_id":"x"}\' | bg hook': {
		check: ({ stdout }) => expect(stdout).toBe(""),
	},
	"bg hook-complete < event.json": {
		before: (world) => {
			addTask(world, { kind: "droid", session_id: parent });
			const payload = stopOf(parent, { last_assistant_message: "It works." });
			writeFileSync(join(world.project, "event.json"), JSON.stringify(payload));
		},
		check: async (_, world) =>
			expect(await world.newest()).toMatchObject({ result: "It works." }),
	},
	'echo \'{"session_id":"x"}\' | bg hook-complete': {
		before: (world) => addTask(world, { kind: "droid", session_id: "x" }),
		check: finished("completed"),
	},
	"bg cleanup --status error --tag nightly": {
		before: async (world) => {
			await world.say();
			addOld(world, { tags: ["nightly"], status: "error" });
		},
		check: ({ json }) => expect(json().archived).toEqual([oldId]),
	},
};
