/** Compares the records of a chaos run on a cluster with what the tasks themselves have noted. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { parseTask } from "../../../lib/task/parse.ts";
import type { Task } from "../../../lib/task/schema.ts";
import { isFinal } from "../../../lib/task/states.ts";
import { linesOf, readOrNothing } from "../../tools/harness.ts";
import { listStoreProcesses } from "../../tools/processes.ts";
import { passingFiles } from "../box.ts";

/** `beats`: how long it runs, in halves of a second. */
export type Planned = {
	beats: number;
	code: number;
	requeue: boolean;
	retries: number;
	after?: string;
};

export type Played = {
	/** The tasks whose launch was answered. */
	planned: Map<string, Planned>;
	/** What was done to a task. */
	hits: Map<string, Set<string>>;
	/** When each node was killed, in ms since the epoch. */
	nodeKills: Map<string, number[]>;
	/** When the controller was killed. */
	controllerKills: number[];
	/** What was wrong while it went on. */
	problems: string[];
};

/** How much later than its end a task may have noted something, in ms: two clocks, and one rename. */
const toleranceMs = 1000;

/** The records of a store. */
export function recordsIn(dir: string): Map<string, Task> {
	const tasks = new Map<string, Task>();
	for (const name of namesIn(dir)) {
		if (!/^bg_\w+\.json$/.test(name)) continue;
		const text = readOrNothing(join(dir, name));
		if (text) tasks.set(name.slice(0, -".json".length), parseTask(text));
	}
	return tasks;
}

/** What is untrue, lost or left over; and how many tasks ended in which way. */
export async function judge(
	{ home, dir }: { home: string; dir: string },
	played: Played,
): Promise<{ problems: string[]; ends: Map<string, number> }> {
	const problems = [...played.problems];
	const ends = new Map<string, number>();
	const records = recordsIn(dir);
	for (const id of played.planned.keys())
		if (!records.has(id)) problems.push(`${id} is lost`);
	for (const task of records.values()) {
		const end = `${task.status} (${task.reason})`;
		ends.set(end, (ends.get(end) ?? 0) + 1);
		const why = findFault(home, task, records, played);
		const { error, attempt } = task;
		if (why)
			problems.push(
				`${task.id} is ${end}, attempt ${attempt ?? 1}, ${error}: ${why}`,
			);
	}
	await untilGone(dir);
	for (const { argv } of listStoreProcesses(dir))
		problems.push(`a process is left: ${argv.join(" ").slice(0, 100)}`);
	for (const name of passingFiles({ dir }))
		problems.push(`a file is left: ${name}`);
	return { problems, ends };
}

// --- internal ---

/** Why the end of a task cannot be true. */
function findFault(
	home: string,
	task: Task,
	records: ReadonlyMap<string, Task>,
	{ planned, hits, nodeKills, controllerKills }: Played,
): string | undefined {
	const { id, status, reason, error = "", exit_code } = task;
	// Its launch was answered by nobody; then the plan is in its description.
	const [, described] = task.description.split(" ");
	const code = planned.get(id)?.code ?? Number(described);
	if (!isFinal(task)) return "it has no end";
	if (status === "error" && !error) return "nothing says why";
	const steps = linesOf(join(home, "log", id)).map((line) => line.split(" "));
	const begun = steps.filter(([what]) => what === "begin").length;
	if (begun > (task.attempt ?? 1)) return `it has begun ${begun} times`;
	const latest = Math.max(0, ...steps.map(([, at]) => Number(at)));
	const endedAt = Date.parse(task.completed_at ?? "");
	if (latest > endedAt + toleranceMs)
		return `it went on until ${new Date(latest).toISOString()}, after its end`;
	const isWhole = steps.at(-1)?.[0] === "end";
	const was = (what: string) => hits.get(id)?.has(what) === true;
	const launchedAt = Date.parse(task.queued_at ?? "");
	const isBetween = (at: number) =>
		at > launchedAt - toleranceMs && at < endedAt + toleranceMs;
	const wasNodeKilled = nodeKills.get(task.engine?.node ?? "")?.some(isBetween);
	const wasControllerKilled = controllerKills.some(isBetween);
	switch (reason) {
		case "exit":
			if (!isWhole) return "it was not at its end";
			if (exit_code !== code) return `it exited ${code}`;
			return (status === "completed") === (code === 0)
				? undefined
				: "its status is not that of its exit code";
		case "cancel":
			return was("task cancelled") ? undefined : "nobody cancelled it";
		case "shutdown":
			return was("job cancelled") || wasControllerKilled
				? undefined
				: "nobody cancelled its job";
		case "engine":
			return was("supervisor killed") || wasNodeKilled || wasControllerKilled
				? undefined
				: "nothing happened to it";
		case "lost":
			return wasControllerKilled ? undefined : "its engine forgot nothing";
		case "dependency":
			return (task.after ?? []).some(
				(other) => records.get(other)?.status !== "completed",
			)
				? undefined
				: "what it comes after was completed";
		default:
			return error || "no such end was planned";
	}
}

async function untilGone(dir: string): Promise<void> {
	const deadline = performance.now() + 20_000;
	while (listStoreProcesses(dir).length && performance.now() < deadline)
		await Bun.sleep(100);
}

function namesIn(dir: string): string[] {
	try {
		return readdirSync(dir);
	} catch {
		return [];
	}
}
