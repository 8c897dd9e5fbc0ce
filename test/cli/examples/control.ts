/** The examples of the verbs that control tasks. */
import { expect } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { openStore } from "../../../lib/store/directory.ts";
import { indexSession } from "../../../lib/store/sessions/session-index.ts";
import type { Task } from "../../../lib/task/schema.ts";
import { type Answer, until } from "../../tools/harness.ts";
import {
	addTask,
	child,
	noticeIn,
	parent,
	toolUse,
} from "../../tools/hooks.ts";
import { type Example, finished, type World } from "./world.ts";

const changesLimit = (wanted: object) => async (_: Answer, world: World) =>
	expect((await world.bg(["limit"])).json().set).toMatchObject(wanted);

const edited = (wanted: Partial<Task>): Example => ({
	before: async (world) => {
		const id = await world.last();
		await world.bg(["run", "-q", "--after", id, "d", "--", "true"]);
	},
	check: async (_, world) => expect(await world.newest()).toMatchObject(wanted),
});

const completed = (wanted: Partial<Task>): Example => ({
	before: (world) => world.last(),
	check: async (_, world) => expect(await world.newest()).toMatchObject(wanted),
});

const paused = (isPaused: boolean): Example => ({
	before: async ({ bg, last }) => {
		const id = await last();
		if (!isPaused) await bg(["pause", id]);
	},
	check: async (_, world) =>
		expect((await world.newest()).paused_at !== undefined).toBe(isPaused),
});

const queuePaused = (isPaused: boolean): Example => ({
	before: async ({ bg }) => {
		if (!isPaused) await bg(["pause", "--queue"]);
	},
	check: async (_, { bg }) =>
		expect((await bg(["limit"])).json().queue.paused).toBe(isPaused),
});

/** A running droid's task without a process, in a home with hooks. */
async function addDroid(world: World, fields: Partial<Task> = {}) {
	await world.bg(["install"]);
	const sessions = { droid_session_id: child, parent_session_id: parent };
	const { project: cwd } = world;
	const id = addTask(world, { kind: "droid", cwd, ...sessions, ...fields });
	indexSession(openStore({ dir: world.dir, write: true }), child, id);
	return id;
}

/** What the droid is told at its next tool call. */
async function told(world: World): Promise<string | undefined> {
	const { id } = await world.newest();
	const env = { BG_TASK_ID: id };
	const input = JSON.stringify(toolUse(child));
	return noticeIn(await world.bg(["hook"], { env, input }));
}

export const controlExamples: Record<string, Example> = {
	"bg cancel @last": {
		before: (world) => world.last(),
		check: finished("cancelled"),
	},
	"bg cancel --all --signal INT": {
		before: (world) => world.last(),
		check: async (_, world) =>
			expect(await world.newest()).toMatchObject({
				status: "cancelled",
				stop: { signal: "INT" },
			}),
	},
	"bg edit @last --priority 10": edited({ priority: 10 }),
	"bg edit @last --timeout 2h": edited({ timeout_ms: 7_200_000 }),
	"bg limit": { check: ({ json }) => expect(json().limits.running).toBe(8) },
	"bg limit running 3": { check: changesLimit({ running: 3 }) },
	"bg limit droid reviewer 1": {
		check: changesLimit({ droid: { reviewer: 1 } }),
	},
	"bg limit model opus 0": { check: changesLimit({ model: { opus: 0 } }) },
	"bg limit running default": {
		before: ({ bg }) => bg(["limit", "running", "3"]),
		check: ({ json }) => expect(json().limits.running).toBe(8),
	},
	"bg pause @last": paused(true),
	"bg unpause @last": paused(false),
	"bg pause --queue": queuePaused(true),
	"bg unpause --queue": queuePaused(false),
	'bg complete @last "It works."': completed({
		status: "completed",
		result: "It works.",
	}),
	'bg complete @last "" "It does not build."': completed({
		status: "error",
		error: "It does not build.",
	}),
	"bg cancel --tag nightly --status queued": {
		before: async ({ bg, last }) => {
			const tag = ["--tag", "nightly"];
			const after = ["--after", await last(...tag)];
			await bg(["run", ...tag, ...after, "d", "--", "true"]);
		},
		check: ({ json }) =>
			expect(json().tasks).toMatchObject([{ status: "cancelled" }]),
	},
	"bg pause --tag nightly": {
		before: ({ last }) => last("--tag", "nightly"),
		check: ({ json }) => expect(json().tasks).toMatchObject([{ paused: true }]),
	},
	"bg unpause --all": {
		before: async ({ bg, last }) => bg(["pause", await last()]),
		check: ({ json }) =>
			expect(json().tasks).toMatchObject([{ paused: false }]),
	},
	'bg send @last "The port is 8080."': {
		before: (world) => addDroid(world),
		check: async (_, world) =>
			expect(await told(world)).toContain("The port is 8080."),
	},
	"bg send --wait @last --file notes.md": {
		before: async (world) => {
			writeFileSync(join(world.project, "notes.md"), "A long message.\n");
			await addDroid(world);
		},
		during: async (world) => {
			const isTold = async () => (await told(world))?.includes("long message");
			await until(isTold, "the message");
		},
		check: ({ json }) =>
			expect(json().message).toMatchObject({ status: "delivered" }),
	},
	'bg send parent "Half of the tests pass."': {
		before: async (world) => {
			world.env.BG_TASK_ID = await addDroid(world);
		},
		check: ({ json }) => expect(json()).toMatchObject({ to: "parent" }),
	},
	'bg send --tag review "Stop at the first fault."': {
		before: (world) => addDroid(world, { tags: ["review"] }),
		check: ({ json }) => expect(json().tasks).toHaveLength(1),
	},
	"bg send @last y": {
		before: ({ keep }) => keep("head", "-1"),
		check: async (_, { bg, newest }) => {
			await bg(["wait"]);
			expect((await newest()).result).toBe("y");
		},
	},
	"bg send @last --file rows.sql --eof": {
		before: async ({ project, keep }) => {
			writeFileSync(join(project, "rows.sql"), "select 1;\n");
			await keep("cat");
		},
		check: async (_, { bg, newest }) => {
			await bg(["wait"]);
			expect((await newest()).result).toBe("select 1;");
		},
	},
};
