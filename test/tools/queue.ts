import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type CallOptions, type Sandbox, until } from "./harness.ts";

export type Env = Record<string, string>;

export const one = { BG_MAX_RUNNING: "1" };

/** Launches a command and returns its id. */
export async function run(
	box: Sandbox,
	command: string[],
	{ flags = [], env = {} }: { flags?: string[]; env?: Env } = {},
): Promise<string> {
	const args = ["run", "-q", ...flags, "a test", "--", ...command];
	const { code, stdout, stderr } = await box.bg(args, { env });
	if (code !== 0 || stderr) throw new Error(`exit ${code}: ${stderr}`);
	return stdout.trim();
}

/** A command that runs until `open` is called. */
export function gate(box: Sandbox) {
	const path = join(box.home, crypto.randomUUID());
	const script = 'until test -e "$0"; do sleep 0.2; done';
	return {
		command: ["sh", "-c", script, path],
		open: () => writeFileSync(path, ""),
	};
}

/** A task that runs until `open` is called. */
export async function block(box: Sandbox, env: Env = one) {
	const { command, open } = gate(box);
	const id = await run(box, command, { env });
	await isRunning(box, id);
	return { id, open };
}

export const isRunning = (box: Sandbox, id: string) =>
	box.untilTask(id, ({ status }) => status === "running", "it running");

export const isOver = (box: Sandbox, id: string) =>
	box.untilTask(id, (task) => task.completed_at, "its end");

/** Two polls of a supervisor: what has not started by then stays queued. Only time can show that. */
export const aWhile = () => Bun.sleep(2500);

/** The names in a folder; the beat of this machine's queue is `beat`. */
export const entries = (box: Sandbox, folder: "queue" | "slots" | "parked") =>
	readdirSync(join(box.dir, `.${folder}`)).map((name) =>
		name.replace(/^beat,.*/, "beat"),
	);

/** Whether the queue was repaired, and somebody was in line. */
export const hasBeat = (box: Sandbox) =>
	entries(box, "parked").includes("beat");

/** Waits until so many tasks wait for nothing but a slot, and the first in line is awake. */
export const isReady = (box: Sandbox, count = 1) =>
	until(
		() => {
			const ready = entries(box, "queue").filter((name) =>
				name.startsWith("ready"),
			);
			const marks = entries(box, "parked");
			const isAwake = !marks.some((name) => name.endsWith(".woken"));
			return ready.length >= count && hasBeat(box) && isAwake;
		},
		"tasks that are ready",
		() => JSON.stringify(namesOfQueue(box)),
	);

/**
 * Launches a task that waits as a shell. A launch that takes more than 4 s, the first poll of its shell, goes on
 * as a supervisor: its task is cancelled and launched again. `options`: how the store's owner calls bg.
 */
export async function parkOne(
	box: Sandbox,
	launch: () => Promise<string>,
	options: CallOptions = {},
): Promise<string> {
	for (let tries = 1; ; tries++) {
		const id = await launch();
		if (entries(box, "parked").includes(id)) return id;
		if (tries === 4) throw new Error(`${id} does not wait as a shell`);
		await box.bg(["cancel", id], options);
	}
}

const namesOfQueue = (box: Sandbox) =>
	(["queue", "slots", "parked"] as const).map((folder) => entries(box, folder));

export const isEmpty = (box: Sandbox) =>
	until(
		() => namesOfQueue(box).flat().length === 0,
		"no task queued, no place taken",
		() => JSON.stringify(namesOfQueue(box)),
	);

export function kill(...pids: (number | undefined)[]): void {
	for (const pid of pids) process.kill(pid ?? 0, "SIGKILL");
}
