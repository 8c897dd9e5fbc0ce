/**
 * What is done while one call fails. `victim` is a call of bg; `attach` is the process that serves a task.
 * A task that runs `long` ends once the world is opened, at the latest when the scenario is over.
 */
import { isFinal } from "../../lib/task/states.ts";
import type { Call } from "../chaos/plan.ts";
import { tasksIn } from "../chaos/verdict.ts";
import { session, type World } from "./world.ts";

export type Scenario = {
	/** How many tasks run at once; default 4. */
	maxRunning?: number;
	play: (world: World) => Promise<void>;
};

/** How long a task runs that is not stopped, and for which the world is not opened, in s. */
const long = 60;

export const scenarios: Record<string, Scenario> = {
	launch: {
		async play(world) {
			const task = world.task({ kind: "droid" });
			await world.victim({ verb: "launch", task });
		},
	},
	run: {
		async play(world) {
			await world.run();
			await world.victim({ verb: "run", task: world.task({ retries: 1 }) });
		},
	},
	"run first": {
		async play(world) {
			await world.victim({ verb: "run", task: world.task() });
		},
	},
	batch: {
		async play(world) {
			const tasks = [world.task(), world.task({ code: 3 }), world.task()];
			await world.victim({ verb: "batch", tasks });
		},
	},
	"run --unique": {
		async play(world) {
			await world.run({ unique: "key", seconds: long });
			const task = world.task({ unique: "key" });
			await world.victim({ verb: "run", task });
		},
	},
	"run --on-end": {
		async play(world) {
			const task = world.task({ onEnd: true });
			await world.victim({ verb: "run", task });
		},
	},
	"run parked": {
		maxRunning: 1,
		async play(world) {
			await world.run({ seconds: long });
			await world.victim({ verb: "run", task: world.task() });
		},
	},
	supervisor: {
		maxRunning: 1,
		async play(world) {
			const first = await world.run({ seconds: long });
			const id = await world.run({ retries: 1, code: 3, onEnd: true });
			await world.attach(id, async () => {
				world.open();
				await world.untilEnd(first, id);
			});
		},
	},
	"supervisor of a droid": {
		maxRunning: 1,
		async play(world) {
			const first = await world.run({ seconds: long });
			const task = world.task({ kind: "droid" });
			const called = await world.call({ verb: "launch", task });
			const id = idIn(called);
			await world.attach(id, async () => {
				world.open();
				await world.untilEnd(first, id);
			});
		},
	},
	"hand over": {
		maxRunning: 1,
		async play(world) {
			const first = await world.run({ seconds: long, onEnd: true });
			const next = await world.run();
			await world.run({ after: [0] });
			await world.attach(first, async () => {
				world.open();
				await world.untilEnd(first, next);
			});
		},
	},
	"supervisor stops": {
		maxRunning: 1,
		async play(world) {
			const first = await world.run({ seconds: long });
			const id = await world.run({ seconds: long, timeout: "1s" });
			await world.attach(id, async () => {
				await world.call(world.of("cancel", first));
				await world.untilEnd(first, id);
			});
		},
	},
	cancel: {
		async play(world) {
			const id = await world.run({ seconds: long });
			await world.untilTask(id, ({ status }) => status === "running");
			const { code } = await world.victim(world.of("cancel", id));
			world.expect(code !== 0 || isFinal(world.record(id)), "cancel said 0");
			await world.call(world.of("cancel", id));
		},
	},
	"cancel queued": {
		maxRunning: 1,
		async play(world) {
			await world.run({ seconds: long });
			const id = await world.run();
			await world.victim(world.of("cancel", id));
			await world.call(world.of("cancel", id));
		},
	},
	"supervisor cancels": {
		async play(world) {
			const id = await world.run({ seconds: long });
			await world.untilTask(id, ({ status }) => status === "running");
			await world.attach(id, async () => {
				await world.call(world.of("cancel", id));
				await world.untilEnd(id);
			});
		},
	},
	pause: {
		async play(world) {
			const id = await world.run({ seconds: long });
			await world.untilTask(id, ({ status }) => status === "running");
			const { code } = await world.victim({ argv: ["pause", id] });
			const task = world.record(id);
			world.expect(
				code !== 0 || task.paused_at !== undefined || isFinal(task),
				"pause said 0",
			);
			await world.call({ argv: ["unpause", id] });
		},
	},
	unpause: {
		async play(world) {
			const id = await world.run({ seconds: long });
			await world.untilTask(id, ({ status }) => status === "running");
			await world.call({ argv: ["pause", id] });
			const { code } = await world.victim({ argv: ["unpause", id] });
			world.expect(
				code !== 0 || world.record(id).paused_at === undefined,
				"unpause said 0",
			);
			if (code !== 0) await world.call({ argv: ["unpause", id] });
		},
	},
	"pause --queue": {
		async play(world) {
			await world.victim({ argv: ["pause", "--queue"] });
			await world.run();
			await world.call({ argv: ["unpause", "--queue"] });
		},
	},
	"unpause --queue": {
		async play(world) {
			await world.call({ argv: ["pause", "--queue"] });
			await world.run();
			await world.victim({ argv: ["unpause", "--queue"] });
			await world.call({ argv: ["unpause", "--queue"] });
		},
	},
	limit: {
		maxRunning: 2,
		async play(world) {
			await world.call({ argv: ["limit", "running", "1"] });
			await world.run({ seconds: long });
			await world.run();
			await world.victim({ argv: ["limit", "running", "2"] });
		},
	},
	edit: {
		maxRunning: 1,
		async play(world) {
			await world.run({ seconds: long });
			const id = await world.run();
			const argv = ["edit", id, "--priority", "5"];
			const { code } = await world.victim({ argv });
			world.expect(
				code !== 0 || world.record(id).priority === 5,
				"edit said 0",
			);
		},
	},
	complete: {
		async play(world) {
			const id = await world.run({ seconds: long });
			await world.victim({ verb: "complete", of: 0 });
			world.open();
			await world.untilEnd(id);
		},
	},
	retry: {
		async play(world) {
			const id = await world.run({ code: 3 });
			await world.untilEnd(id);
			await world.victim({ argv: ["retry", id] });
		},
	},
	wait: {
		async play(world) {
			const ids = [await world.run({ seconds: long }), await world.run()];
			const opening = setTimeout(() => world.open(), 500);
			const { code } = await world.victim(world.of("wait", ...ids));
			clearTimeout(opening);
			world.expect(
				code !== 0 || ids.every((id) => isFinal(world.record(id))),
				"wait said 0",
			);
		},
	},
	status: {
		async play(world) {
			const id = await world.run();
			await world.untilEnd(id);
			await world.victim(world.of("status", id));
		},
	},
	output: {
		async play(world) {
			const id = await world.run();
			await world.untilEnd(id);
			await world.victim(world.of("output", id));
		},
	},
	list: {
		async play(world) {
			for (const _ of Array(5)) await world.untilEnd(await world.run());
			await world.victim({ verb: "list" });
		},
	},
	prune: {
		async play(world) {
			for (const _ of Array(5)) await world.untilEnd(await world.run());
			await world.victim({ verb: "prune" });
		},
	},
	archive: {
		async play(world) {
			for (const _ of Array(5)) await world.untilEnd(await world.run());
			const id = await world.run({ seconds: long });
			await world.attach(id, async () => {
				world.open();
				await world.untilEnd(id);
			});
		},
	},
	cleanup: {
		async play(world) {
			await world.untilEnd(await world.run(), await world.run());
			await world.victim({ verb: "cleanup" });
		},
	},
	"cleanup --delete": {
		async play(world) {
			await world.untilEnd(await world.run(), await world.run());
			await Bun.sleep(1100);
			await world.victim({ verb: "delete" });
		},
	},
	"hook PostToolUse": {
		async play(world) {
			await world.untilEnd(await world.run(), await world.run());
			await world.victim({ verb: "hook", event: "PostToolUse", session });
		},
	},
	"hook SessionStart": {
		async play(world) {
			await world.untilEnd(await world.run());
			await world.victim({ verb: "hook", event: "SessionStart", session });
		},
	},
	"hook Stop": {
		async play(world) {
			await world.untilEnd(await world.run());
			await world.victim({ verb: "hook", event: "Stop", session });
		},
	},
	"hook-complete": {
		async play(world) {
			const id = await world.run({ seconds: long });
			await world.victim({ verb: "hook-complete", of: 0 });
			world.open();
			await world.untilEnd(id);
		},
	},
	send: {
		async play(world) {
			await talk(world, async (words) => {
				await world.victim(words);
			});
		},
	},
	"hook with a message": {
		async play(world) {
			await talk(world, async (words) => {
				await world.call(words);
				await world.victim({ verb: "deliver", of: 0, event: "PostToolUse" });
			});
		},
	},
	"hook Stop with a message": {
		async play(world) {
			await talk(world, async (words) => {
				await world.call(words);
				await world.victim({ verb: "deliver", of: 0, event: "Stop" });
			});
		},
	},
	"hook of a subagent": {
		async play(world) {
			const event = (event: "launched" | "SessionEnd") =>
				({ verb: "subagent", event, session }) as const;
			await world.victim(event("launched"));
			await world.call(event("SessionEnd"));
		},
	},
};

/** Lets something be done with a message while a droid runs, and delivers what is left. */
async function talk(
	world: World,
	act: (words: Call) => Promise<void>,
): Promise<void> {
	const task = world.task({ kind: "droid", seconds: long });
	const id = idIn(await world.call({ verb: "launch", task }));
	await world.untilTask(id, (task) => task.droid_session_id || isFinal(task));
	await act({ verb: "send", of: 0, text: "words", waits: false });
	await world.call({ verb: "deliver", of: 0, event: "PostToolUse" });
	world.open();
	await world.untilEnd(id);
}

function idIn(called: Parameters<typeof tasksIn>[0]): string {
	const [launched] = tasksIn(called);
	if (!launched) throw new Error(`no launch: ${called.stderr}`);
	return launched.taskId;
}
