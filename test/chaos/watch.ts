/**
 * The observer of a round: it reads processes and records from outside, kills, and keeps account of
 * its kills. What a task did is in a log that the task itself writes outside of the store.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { identifyProcess } from "../../lib/process/identity.ts";
import { sendSignal } from "../../lib/process/signals.ts";
import { parseTask } from "../../lib/task/parse.ts";
import { isFinal } from "../../lib/task/states.ts";
import type { Kill } from "./plan.ts";

/** One kill. `point`: the step of a write after which it happened. */
export type Death = {
	kind: "launcher" | "hook" | "verb" | "supervisor" | "task";
	/** The tasks of the process. */
	ids: string[];
	point?: string;
};

/** The observations of one task. */
export type Seen = {
	/** How often each attempt began, and the exit code of each that ended. */
	starts: Map<number, number>;
	ends: Map<number, number>;
	/** When it first began, in ms. */
	began: number | undefined;
	/** How often its --on-end ran. */
	followed: number;
	/** A supervisor of it was killed, or got SIGTERM; a process of it was killed. */
	isUnwatched: boolean;
	isShutDown: boolean;
	isHurt: boolean;
};

export type Watched = {
	pid: number;
	parent: number;
	kind: "supervisor" | "task" | "other";
	ids: string[];
	/** Whether a supervisor started it for a task, and the depth of that task. */
	isRoot: boolean;
	depth: string | undefined;
};

export class Watch {
	readonly problems = new Set<string>();
	readonly deaths: Death[] = [];
	/** The ids of all records ever seen, and the first final status of each. */
	readonly known = new Map<string, string | undefined>();
	readonly #dir: string;
	readonly #maxRunning: number;
	readonly #shutDown = new Set<string>();

	constructor(dir: string, maxRunning: number) {
		this.#dir = dir;
		this.#maxRunning = maxRunning;
	}

	/** Living processes of the round. */
	processes(): Watched[] {
		const all = readdirSync("/proc").flatMap((name) => {
			try {
				return /^\d+$/.test(name) ? (readProcess(name, this.#dir) ?? []) : [];
			} catch {
				return [];
			}
		});
		// A process that a supervisor starts has its argv until exec.
		const supervisors = all.filter(({ kind }) => kind === "supervisor");
		const pids = new Set(supervisors.map(({ pid }) => pid));
		for (const each of supervisors)
			if (pids.has(each.parent)) each.kind = "task";
		return all;
	}

	/** Signals one supervisor, or one process of a task, if there is any. */
	kill({ target, signal: name, choice }: Kill): void {
		const targets = this.processes().filter(({ kind }) => kind === target);
		const each = targets[choice % Math.max(targets.length, 1)];
		const identity = each && identifyProcess(each.pid);
		if (!identity) return;
		sendSignal(identity, name);
		if (name === "SIGKILL") this.deaths.push({ kind: target, ids: each.ids });
		else for (const id of each.ids) this.#shutDown.add(id);
	}

	/** Kills every process of the round. */
	killAll(): void {
		for (const { pid } of this.processes()) {
			const identity = identifyProcess(pid);
			if (identity) sendSignal(identity, "SIGKILL");
		}
	}

	/** Checks every record (a final status never changes) and the number of running tasks. */
	sample(): void {
		if (!existsSync(this.#dir)) return;
		for (const name of readdirSync(this.#dir)) {
			if (!name.endsWith(".json")) continue;
			const text = readOrNothing(join(this.#dir, name));
			// Deleted since.
			if (text === "") continue;
			try {
				const { id, status, reason } = parseTask(text);
				const end = isFinal({ status }) ? `${status} ${reason}` : undefined;
				const before = this.known.get(id);
				this.known.set(id, before ?? end);
				if (before && before !== end)
					this.problems.add(`${id} was ${before}, and then ${text}`);
			} catch (error) {
				this.problems.add(`${name} cannot be read (${error}): ${text}`);
			}
		}
		const roots = this.processes().filter(({ isRoot }) => isRoot);
		// All that are still alive were alive at one moment.
		const alive = roots.filter(({ pid }) => identifyProcess(pid));
		for (const [depth, running] of Map.groupBy(alive, (each) => each.depth)) {
			const ids = new Set(running.flatMap((each) => each.ids));
			if (ids.size > this.#maxRunning)
				this.problems.add(
					`${ids.size} tasks run at once at depth ${depth}: ${[...ids]}`,
				);
		}
	}

	/** Returns the observations of a task, from the log of the tasks and the deaths. */
	report(log: string): (id: string) => Seen {
		const idsOf = (kind: Death["kind"]) =>
			new Set(
				this.deaths
					.filter((each) => each.kind === kind)
					.flatMap(({ ids }) => ids),
			);
		const unwatched = idsOf("supervisor");
		const hurt = idsOf("task");
		const lines = Map.groupBy(linesOf(log), (line) => line.split(" ")[1]);
		return (id) => {
			const seen: Seen = {
				starts: new Map(),
				ends: new Map(),
				began: undefined,
				followed: 0,
				isUnwatched: unwatched.has(id),
				isShutDown: this.#shutDown.has(id),
				isHurt: hurt.has(id),
			};
			for (const line of lines.get(id) ?? []) {
				const [what, , attempt, value] = line.split(" ");
				const number = Number(attempt);
				if (what === "start") {
					seen.starts.set(number, (seen.starts.get(number) ?? 0) + 1);
					seen.began ??= Number(value) * 1000;
				} else if (what === "end") seen.ends.set(number, Number(value));
				else seen.followed++;
			}
			return seen;
		};
	}
}

export function readOrNothing(path: string): string {
	try {
		return readFileSync(path, "utf8");
	} catch {
		return "";
	}
}

export const linesOf = (path: string): string[] =>
	readOrNothing(path)
		.split("\n")
		.filter((line) => line);

// --- internal ---

/** A process of the round; undefined for any other. @throws if it has exited. */
function readProcess(name: string, dir: string): Watched | undefined {
	const read = (file: string) => readFileSync(`/proc/${name}/${file}`, "utf8");
	const environment = read("environ").split("\0");
	if (!environment.includes(`BG_DIR=${dir}`)) return undefined;
	const variable = (key: string) =>
		environment
			.find((each) => each.startsWith(`${key}=`))
			?.slice(key.length + 1);
	const argv = read("cmdline").split("\0");
	const stat = read("stat");
	const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
	const [, parent, , session] = fields;
	const task = variable("BG_TASK_ID");
	const supervised = argv.includes("supervise")
		? argv.filter((each) => /^bg_/.test(each))
		: undefined;
	return {
		pid: Number(name),
		parent: Number(parent),
		kind: task ? "task" : supervised ? "supervisor" : "other",
		ids: task ? [task] : (supervised ?? []),
		isRoot: session === name && (argv[3] === "task" || argv.includes("exec")),
		depth: variable("BG_DEPTH"),
	};
}
