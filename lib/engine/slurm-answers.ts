/** Reads what Slurm's programs print. Pure. All of it is input from outside: what does not fit is left out. */
import { refused } from "../error.ts";
import { toLine, toPlain } from "../print/text.ts";
import { idPattern } from "../task/ids.ts";
import type { JobEnd, StopCause } from "./types.ts";

/** A job of one of our submissions, as squeue(1) lists it. */
export type ListedJob = {
	/** The name: the first task of the submission. */
	launch: string;
	/** The number of this job alone; an element of an array has one once it was started. */
	number: string;
	/** The place in the array; undefined outside of arrays, and for all places that were cancelled before they started. */
	index: number | undefined;
	state: string;
	node: string;
	/** As users type it: `30` or `30_4`. */
	shown: string;
	/** Why it is pending. */
	why: string;
};

/** The format of squeue(1) that `parseQueue` reads. */
export const queueFormat = "%j|%A|%K|%T|%N|%i|%r";

/**
 * The jobs of our submissions; the newest one of each name and place.
 * @throws BgError (refused) if no line is one of a list.
 */
export function parseQueue(text: string): Map<string, ListedJob> {
	const found = new Map<string, ListedJob>();
	if (text.trim() && !/^.*\|\d+\|.*\|[A-Z_]+\|.*\|.*\|/m.test(text))
		throw refused("its list of jobs cannot be read");
	for (const line of toPlain(text).split("\n")) {
		const parts = line.split("|");
		const [launch = "", number = "", place = "", state = ""] = parts;
		const [node = "", shown = ""] = parts.slice(4);
		if (!idPattern.test(launch) || !isNumber(number)) continue;
		if (!/^\d{1,10}(_\d{1,10})?$/.test(shown)) continue;
		const index = isNumber(place) ? Number(place) : undefined;
		const key = jobKey(launch, index);
		const other = found.get(key);
		if (other && Number(other.number) > Number(number)) continue;
		found.set(key, {
			launch,
			number,
			index,
			state: state.slice(0, 30),
			node: node.slice(0, 60),
			shown,
			why: parts.slice(6).join("|").slice(0, 60),
		});
	}
	return found;
}

/** Names one job of a submission. */
export const jobKey = (launch: string, index?: number) =>
	index === undefined ? launch : `${launch} ${index}`;

const pendingStates = [
	"PENDING",
	"REQUEUED",
	"REQUEUE_FED",
	"REQUEUE_HOLD",
	"RESV_DEL_HOLD",
	"SPECIAL_EXIT",
];
const runningStates = [
	"RUNNING",
	"CONFIGURING",
	"COMPLETING",
	"RESIZING",
	"SIGNALING",
	"STAGE_OUT",
	"STOPPED",
	"SUSPENDED",
];

const overStates = [
	"BOOT_FAIL",
	"CANCELLED",
	"COMPLETED",
	"DEADLINE",
	"FAILED",
	"NODE_FAIL",
	"OUT_OF_MEMORY",
	"PREEMPTED",
	"REVOKED",
	"TIMEOUT",
];

/** Whether a job of this state waits, runs or is over. @throws BgError (refused) if the state is unknown. */
export function phaseOf(state: string): "pending" | "running" | "over" {
	if (pendingStates.includes(state)) return "pending";
	if (runningStates.includes(state)) return "running";
	// sacct(1) says by whom: `CANCELLED by 0`.
	if (overStates.includes(state.split(" ")[0] ?? "")) return "over";
	const shown = JSON.stringify(toLine(state, 30));
	throw refused(`Slurm reports an unknown state of the job: ${shown}`);
}

/** What is known of a job that is over. */
export type OverJob = {
	shown: string;
	state: string;
	/** `<code>:<signal>`. */
	exit?: string | undefined;
	node?: string | undefined;
};

/** The exit codes of the job script, which runs before bg. */
export const scriptExits = { notShared: 121, noProgram: 122 } as const;

/** How a task ended whose job is over, and whose end nobody recorded. */
export function describeEnd({ shown, state, exit, node }: OverJob): JobEnd {
	const where = node ? ` on ${node}` : "";
	const words = `(slurm ${shown}: ${state})`;
	const [code = "", signal = ""] = exit?.split(":") ?? [];
	if (/^CANCELLED/.test(state))
		return { reason: "shutdown", error: `cancelled at Slurm ${words}` };
	const sentence =
		(state === "NODE_FAIL" && node
			? `node ${node} failed`
			: sentences[state]) ??
		(Number(code) === scriptExits.notShared
			? `the folder of tasks does not exist${where}: it must be shared`
			: Number(code) === scriptExits.noProgram
				? `bg is not installed${where}`
				: Number(signal)
					? `its supervisor was killed by signal ${signal}${where}`
					: `its job ended${where}, and its supervisor recorded no end`);
	return { reason: "engine", error: `${sentence} ${words}` };
}

/** Reads `Key=Value` pairs of scontrol(1). The first of a key counts: users' texts come last. */
export function parseFields(text: string): Map<string, string> {
	const fields = new Map<string, string>();
	const pairs = text.matchAll(/(?:^|\s)([A-Za-z]+)=(\S*)/g);
	for (const [, key = "", value = ""] of pairs)
		if (!fields.has(key)) fields.set(key, toLine(value, 100));
	return fields;
}

/** Why a job is being ended, by what scontrol(1) shows of it. `run`: how often it was started again before. */
export function parseStopCause(
	text: string,
	{ job, run }: { job: string; run: number },
): StopCause {
	const fields = parseFields(text);
	const isOver = fields.get("JobState") !== "RUNNING";
	const isAgain = Number(fields.get("Restarts") ?? 0) > run;
	const describe = (state: string, again: boolean): StopCause => ({
		end: describeEnd({ shown: job, state }),
		again,
	});
	if ((fields.get("PreemptTime") ?? "None") !== "None")
		// In its grace time a job still runs. If it is not put back after all, its end decides.
		return describe(
			"PREEMPTED",
			isAgain || (!isOver && fields.get("Requeue") === "1"),
		);
	if (isAgain) return describe("REQUEUED", true);
	if (fields.get("Reason") === "TimeLimit") return describe("TIMEOUT", false);
	// While the job runs, something else than the engine sent the signal.
	return isOver ? describe("CANCELLED", false) : { again: false };
}

/** Numbers as the ranges of a job array: `0-3,7`. */
export function formatRanges(numbers: readonly number[]): string {
	const ranges: [number, number][] = [];
	for (const each of [...numbers].sort((a, b) => a - b)) {
		const last = ranges.at(-1);
		if (last && each <= last[1] + 1) last[1] = each;
		else ranges.push([each, each]);
	}
	return ranges
		.map(([from, to]) => (from === to ? `${from}` : `${from}-${to}`))
		.join(",");
}

/** The words of a program that refused, without its name. */
export function parseRefusal(text: string): string {
	const lines = text
		.split("\n")
		.map((line) => line.replace(/^\w+: (error|fatal): /, "").trim())
		.filter((line) => line && !/^Try "?\w+ --help/.test(line));
	return toLine(lines.at(-1) ?? "", 200);
}

// --- internal ---

const isNumber = (text: string) => /^\d{1,10}$/.test(text);

/** By the state of a job that is over. */
const sentences: Record<string, string | undefined> = {
	BOOT_FAIL: "its node did not boot",
	DEADLINE: "its deadline has passed",
	NODE_FAIL: "node failed",
	OUT_OF_MEMORY: "out of memory",
	PREEMPTED: "preempted",
	REQUEUED: "put back into the queue",
	TIMEOUT: "its time limit at Slurm was reached",
};
