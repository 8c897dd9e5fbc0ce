/** The examples of the verbs that control tasks. */
import { expect } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import {
	indexSession,
	writeSessionNote,
} from "../../../lib/store/sessions/session-index.ts";
import type { Task } from "../../../lib/task/schema.ts";
import { type Answer, until } from "../../tools/harness.ts";
import { child, noticeIn, parent, send, toolUse } from "../../tools/hooks.ts";
import { addDroid } from "../../tools/messages.ts";
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

/** Its messages and notes. */
const wordsOf = async ({ newest }: World, key: "messages" | "notes") => {
	const { [key]: all = [] }: Record<string, { text: string }[]> = Object(
		await newest(),
	);
	return all.map(({ text }) => text);
};

const messaged = (text: string): Example => ({
	before: (world) => {
		addDroid(world);
		writeFileSync(join(world.project, "notes.md"), text);
	},
	check: async (_, world) =>
		expect(await wordsOf(world, "messages")).toEqual([text]),
});

/** A hook of the droid delivers what waits. */
async function deliver(world: World): Promise<void> {
	const { id } = await world.newest();
	const hook = () => send(world, toolUse(child), { env: { BG_TASK_ID: id } });
	await until(async () => noticeIn(await hook()), "a message");
}

const typed = (wanted: string): Example => ({
	before: async (world) => {
		writeFileSync(join(world.project, "rows.sql"), wanted);
		const kept = ["run", "-q", "--stdin", "keep", "d", "--"];
		const script = 'IFS= read -r row; echo "$row"';
		const { stdout } = await world.bg([...kept, "sh", "-c", script]);
		await world.untilTask(stdout.trim(), ({ pid }) => pid, "a start");
	},
	check: async (_, { bg }) => {
		await bg(["wait", "@last"]);
		expect((await bg(["output", "@last"])).stdout).toBe(wanted);
	},
});

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
	'bg send @last "The port is 8080."': messaged("The port is 8080."),
	"bg send --wait @last --file notes.md": {
		...messaged("a note"),
		during: deliver,
	},
	'bg send parent "Half of the tests pass."': {
		before: (world) => {
			const id = addDroid(world);
			indexSession(world, parent, id);
			writeSessionNote(world, parent, "caller", "");
			world.env.BG_TASK_ID = id;
		},
		check: async (_, world) => {
			delete world.env.BG_TASK_ID;
			const notes = await wordsOf(world, "notes");
			expect(notes).toEqual(["Half of the tests pass."]);
		},
	},
	"bg send @last y": typed("y\n"),
	"bg send @last --file rows.sql --eof": typed("a row\n"),
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
};
