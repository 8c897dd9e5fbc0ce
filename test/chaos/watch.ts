/**
 * The observer of a round: it reads processes and records from outside, kills, and keeps account of
 * its kills. What a task did is in a log that the task itself writes outside of the store.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { identifyProcess } from "../../lib/process/identity.ts";
import { sendSignal } from "../../lib/process/signals.ts";
import { parseTask } from "../../lib/task/parse.ts";
import type { Task } from "../../lib/task/schema.ts";
import { isFinal } from "../../lib/task/states.ts";
import { linesOf, readOrNothing } from "../tools/harness.ts";
import type { Kill } from "./plan.ts";

/** One kill. `point`: the step of a write after which it happened. */
export type Death = {
	kind:
		| "launcher"
		| "hook"
		| "verb"
		| Exclude<Watched["kind"], "call" | "other">;
	/** The tasks of the process. */
	ids: string[];
	point?: string;
	/** Whether that step moved a task to the archive. */
	isArchiving?: boolean;
};

/** The observations of one task. */
export type Seen = {
	/** How often each attempt began, and the exit code of each that ended. */
	starts: Map<number, number>;
	ends: Map<number, number>;
	/** Words that an attempt printed and the disk did not take. */
	unwritten: Set<string>;
	/** When it first began, in ms. */
	began: number | undefined;
	/** From when to when each attempt ran that was not killed, in ms. */
	runs: { from: number; to: number }[];
	/** What each attempt read from its standard input, and the attempts that read its end. */
	inputs: Map<number, string>;
	inputEnds: Set<number>;
	/** How often its --on-end ran. */
	followed: number;
	/** A supervisor of it was killed, or got SIGTERM; a process of it was killed. */
	isUnwatched: boolean;
	isShutDown: boolean;
	isHurt: boolean;
	/** The process that keeps its input open was killed; a process of its --on-end was. */
	isUnkept: boolean;
	isUnfollowed: boolean;
	/** The process that waited for its place was stopped for a while. */
	isStopped: boolean;
};

export type Watched = {
	pid: number;
	parent: number;
	/** `keeper`: it keeps a task's input open. `follower`: a process of an --on-end. */
	kind:
		| "supervisor"
		| "parked"
		| "task"
		| "keeper"
		| "follower"
		| "call"
		| "other";
	/** The sleep of a parked shell that was killed: it ends within a minute. */
	isOrphanedSleep: boolean;
	isPaused: boolean;
	ids: string[];
	/** Whether a supervisor started it for a task, and the depth of that task. */
	isRoot: boolean;
	depth: string | undefined;
};

/**
 * The longest that a free place may stay free, in ms. By design it is 5 s, and 60 s if all running
 * supervisors and the first in line have died together, as may happen in any round.
 */
const maxGap = 75_000;

export class Watch {
	/** The longest time for which a place was free and a task waited for it, in ms. */
	gap = 0;
	readonly problems = new Set<string>();
	/** Tasks whose claims were removed: they run beside those that the limit counts. */
	readonly unclaimed = new Set<string>();
	/** Whether the store cannot be read or written: no place is handed over meanwhile. */
	isStoreBroken = false;
	readonly deaths: Death[] = [];
	/** The kinds of the processes that were stopped for a while. */
	readonly stops: string[] = [];
	/** The ids of all records ever seen, and the first final status of each. */
	readonly known = new Map<string, string | undefined>();
	readonly #dir: string;
	readonly #maxRunning: number;
	readonly #shutDown = new Set<string>();
	readonly #stopped = new Set<string>();
	/** For each depth: since when a place is free for tasks that are ready, and for which. */
	readonly #free = new Map<string, { since: number; ids: string[] }>();

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

	/** Signals the processes that a kill is about, if there are any. A stop ends by itself. */
	async kill({ target, signal: name, choice, stopMs }: Kill): Promise<void> {
		const targets = selectTargets(target, this.processes());
		const isAll = target === "running" || target === "line";
		const one = targets[choice % Math.max(targets.length, 1)];
		const hit: Watched[] = isAll ? targets : one ? [one] : [];
		const marked = { SIGTERM: this.#shutDown, SIGSTOP: this.#stopped };
		const identities = hit.map(({ pid }) => identifyProcess(pid));
		for (const identity of identities) if (identity) sendSignal(identity, name);
		for (const { kind, ids } of hit)
			if (name !== "SIGKILL")
				for (const id of ids) marked[name as keyof typeof marked]?.add(id);
			else if (kind !== "call" && kind !== "other")
				this.deaths.push({ kind, ids });
		if (name !== "SIGSTOP") return;
		this.stops.push(...hit.map(({ kind }) => kind));
		await Bun.sleep(stopMs);
		for (const identity of identities)
			if (identity) sendSignal(identity, "SIGCONT");
	}

	/** Kills every process of the round that is meant. */
	killAll(isMeant: (each: Watched) => boolean = () => true): void {
		for (const { pid } of this.processes().filter(isMeant)) {
			const identity = identifyProcess(pid);
			if (identity) sendSignal(identity, "SIGKILL");
		}
	}

	/** Checks every record (a final status never changes) and the number of running tasks. */
	sample(): void {
		if (!existsSync(this.#dir)) return;
		const queued = new Map<string, Task>();
		for (const name of readdirSync(this.#dir)) {
			if (!name.endsWith(".json")) continue;
			const text = readOrNothing(join(this.#dir, name));
			// Deleted since.
			if (text === "") continue;
			try {
				const task = parseTask(text);
				const { id, status, reason } = task;
				if (status === "queued") queued.set(id, task);
				const end = isFinal({ status }) ? `${status} ${reason}` : undefined;
				const before = this.known.get(id);
				this.known.set(id, before ?? end);
				if (before && before !== end)
					this.problems.add(`${id} was ${before}, and then ${text}`);
			} catch (error) {
				this.problems.add(`${name} cannot be read (${error}): ${text}`);
			}
		}
		const processes = this.processes();
		this.#measureGap(processes, queued);
		const roots = processes.filter(({ isRoot }) => isRoot);
		// All that are still alive were alive at one moment.
		const alive = roots.filter(({ pid }) => identifyProcess(pid));
		for (const [depth, running] of Map.groupBy(alive, (each) => each.depth)) {
			const ids = new Set(running.flatMap((each) => each.ids));
			if (ids.difference(this.unclaimed).size > this.#maxRunning)
				this.problems.add(
					`${ids.size} tasks run at once at depth ${depth}: ${[...ids]}`,
				);
		}
	}

	/**
	 * Measures how long a place is free while tasks are ready whose processes live and run: until one of
	 * them leaves the queue.
	 */
	#measureGap(
		processes: readonly Watched[],
		queued: ReadonlyMap<string, Task>,
	): void {
		const alive = new Set(
			processes.flatMap(({ isPaused, ids }) => (isPaused ? [] : ids)),
		);
		// The place of a task whose processes are gone is free, whoever notices that.
		const taken = Map.groupBy(
			namesIn(join(this.#dir, ".slots")).filter((name) =>
				alive.has(name.split(",")[3] ?? ""),
			),
			(name) => name.split(",")[2] ?? "",
		);
		const waiting = new Set(
			processes.flatMap(({ kind, isPaused, ids }) =>
				/^(supervisor|parked)$/.test(kind) && !isPaused ? ids : [],
			),
		);
		const ready = namesIn(join(this.#dir, ".queue")).flatMap((name) => {
			const [state, , depth = "", id = ""] = name.split(",");
			const mayStart = state === "ready" && queued.has(id) && waiting.has(id);
			return mayStart ? [{ depth, id }] : [];
		});
		const now = performance.now();
		const isHeldBack = [".queue/paused", ".limits"].some((name) =>
			existsSync(join(this.#dir, name)),
		);
		if (isHeldBack || this.isStoreBroken) {
			this.#free.clear();
			return;
		}
		for (const depth of [...this.#free.keys(), ...ready.map((r) => r.depth)]) {
			const ids = ready.flatMap((each) =>
				each.depth === depth ? each.id : [],
			);
			const isFree = (taken.get(depth)?.length ?? 0) < this.#maxRunning;
			const before = this.#free.get(depth);
			const goesOn = before?.ids.every((id) => ids.includes(id));
			if (!isFree || ids.length === 0) this.#free.delete(depth);
			else
				this.#free.set(depth, {
					since: before && goesOn ? before.since : now,
					ids,
				});
			const gap = now - (this.#free.get(depth)?.since ?? now);
			this.gap = Math.max(this.gap, gap);
			if (gap > maxGap)
				this.problems.add(`a place is free at depth ${depth}, and ${ids} wait`);
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
		const unwatched = idsOf("supervisor").union(idsOf("parked"));
		const hurt = idsOf("task");
		const unkept = idsOf("keeper");
		const unfollowed = idsOf("follower");
		const inputs = namesIn(dirname(log)).flatMap((name) => {
			const [, id = "", attempt] = /\.(bg_[0-9a-f]+)\.(\d+)$/.exec(name) ?? [];
			const text = () => readOrNothing(join(dirname(log), name));
			return id ? [{ id, attempt: Number(attempt), text: text() }] : [];
		});
		const lines = Map.groupBy(linesOf(log), (line) => line.split(" ")[1]);
		return (id) => {
			const seen: Seen = {
				starts: new Map(),
				ends: new Map(),
				unwritten: new Set(),
				inputs: new Map(),
				inputEnds: new Set(),
				began: undefined,
				runs: [],
				followed: 0,
				isUnwatched: unwatched.has(id),
				isShutDown: this.#shutDown.has(id),
				isHurt: hurt.has(id),
				isUnkept: unkept.has(id),
				isUnfollowed: unfollowed.has(id),
				isStopped: this.#stopped.has(id),
			};
			let from = 0;
			for (const input of inputs)
				if (input.id === id) seen.inputs.set(input.attempt, input.text);
			for (const line of lines.get(id) ?? []) {
				const [what, , attempt, value, at] = line.split(" ");
				const number = Number(attempt);
				if (what === "start") {
					seen.starts.set(number, (seen.starts.get(number) ?? 0) + 1);
					from = Number(value) * 1000;
					seen.began ??= from;
				} else if (what === "end") {
					seen.ends.set(number, Number(value));
					seen.runs.push({ from, to: Number(at) * 1000 });
				} else if (what === "unwritten")
					seen.unwritten.add(`${value} ${attempt}`);
				else if (what === "eof") seen.inputEnds.add(number);
				else seen.followed++;
			}
			return seen;
		};
	}
}

// --- internal ---

function namesIn(folder: string): string[] {
	try {
		return readdirSync(folder);
	} catch {
		return [];
	}
}

/** The processes that a target stands for. */
function selectTargets(
	target: Kill["target"],
	processes: readonly Watched[],
): Watched[] {
	const parents = new Set(
		processes.flatMap(({ kind, parent }) => (kind === "task" ? parent : [])),
	);
	const isRunning = ({ kind, pid }: Watched) =>
		kind === "supervisor" && parents.has(pid);
	const select: Record<Kill["target"], (each: Watched) => boolean> = {
		supervisor: ({ kind }) => kind === "supervisor",
		task: ({ kind }) => kind === "task",
		parked: ({ kind }) => kind === "parked",
		waiting: (each) =>
			/^(supervisor|parked)$/.test(each.kind) && !isRunning(each),
		running: isRunning,
		// The first in line is awake: a supervisor.
		line: ({ kind }) => kind === "supervisor",
		any: ({ kind }) => kind !== "other",
	};
	return processes.filter(select[target]);
}

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
	const [state, parent, , session] = fields;
	const task = variable("BG_TASK_ID");
	const supervised = argv.includes("supervise")
		? argv.filter((each) => /^bg_/.test(each))
		: undefined;
	const isShell = argv[1] === "-c" && argv[3]?.startsWith("bg: ");
	const waits = isShell ? "parked" : "supervisor";
	const keptId = /^bg: input of (.*)/.exec(argv[3] ?? "")?.[1];
	const ended = variable("BG_ENDED_ID");
	const isCall = parent === String(process.pid);
	const kinds = [
		task && "task",
		ended && "follower",
		keptId && "keeper",
		supervised && waits,
		isCall && "call",
	] as const;
	return {
		pid: Number(name),
		parent: Number(parent),
		kind: kinds.find((kind) => kind) || "other",
		isOrphanedSleep:
			!task && parent === "1" && /^\/(usr\/)?bin\/sleep$/.test(argv[0] ?? ""),
		isPaused: state === "T",
		ids: [task ?? ended ?? keptId ?? supervised ?? []].flat(),
		isRoot: session === name && (argv[3] === "task" || argv.includes("exec")),
		depth: variable("BG_DEPTH"),
	};
}
