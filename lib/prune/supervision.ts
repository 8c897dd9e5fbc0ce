/** The supervision of a task: whether a supervisor watches it, by its own processes. */
import { jobStateOf } from "../engine/engine.ts";
import type { JobState } from "../engine/types.ts";
import { toLine } from "../print/text.ts";
import {
	checkLiveness,
	explainUnknown,
	isAliveHere,
	type Liveness,
} from "../process/identity.ts";
import { describeMachine } from "../process/machine.ts";
import type { Identity, Task } from "../task/schema.ts";
import { isFinal } from "../task/states.ts";

/** Whether a task is supervised, by the liveness of its own processes. */
export type Supervision =
	| "watched"
	| "orphaned"
	| "lost"
	| "elsewhere"
	/** An old record that names no process. */
	| "unknown"
	/** Droid runs it; a hook reports its end. */
	| "native"
	/** Final, and its process is gone. */
	| "over"
	/** Final, and its process is alive. */
	| "lingering"
	/** The system does not tell whether it is alive: nothing is decided. */
	| "unclear";

/** Checks the processes of a task; `check` answers for one process. */
export function checkSupervision(
	task: Task,
	check: (identity: Identity) => Liveness = checkLiveness,
): Supervision {
	// An exit code or signal is recorded only after the process has ended.
	if (isFinal(task) && (task.exit_code ?? task.signal) !== undefined)
		return "over";
	if (task.engine && !isFinal(task)) return checkJob(task);
	const process = task.process && check(task.process);
	if (isFinal(task)) return finalSupervisions[process ?? "gone"];
	const supervisor = task.supervisor && check(task.supervisor);
	if (!supervisor) return task.kind === "native" ? "native" : "unknown";
	if (supervisor === "alive") return "watched";
	if (supervisor === "elsewhere") return "elsewhere";
	if (supervisor === "unknown") return "unclear";
	return orphanSupervisions[process ?? "gone"];
}

/** The supervision of a task whose supervisor is a job: while that process is not seen, the engine decides. */
function checkJob(task: Task): Supervision {
	if (task.supervisor && isAliveHere(task.supervisor)) return "watched";
	return jobSupervisions[jobStateOf(task).phase];
}

const jobSupervisions = {
	pending: "watched",
	running: "watched",
	over: "lost",
	none: "lost",
	unknown: "unclear",
} as const satisfies Record<JobState["phase"], Supervision>;

const finalSupervisions = {
	alive: "lingering",
	gone: "over",
	elsewhere: "over",
	unknown: "unclear",
} as const satisfies Record<Liveness, Supervision>;

/** The supervision of an unfinished task whose supervisor is gone, by the liveness of its process. */
const orphanSupervisions = {
	alive: "orphaned",
	gone: "lost",
	elsewhere: "elsewhere",
	unknown: "unclear",
} as const satisfies Record<Liveness, Supervision>;

/** The note on a task's supervision, for a person; undefined if there is none. */
export function describeSupervision(
	task: Task,
	supervision: Supervision,
): string | undefined {
	if (supervision === "lingering") return "process alive";
	if (supervision === "unknown") return "no supervisor is known";
	if (supervision === "native") return "droid runs it";
	if (task.engine && !isFinal(task) && supervision !== "unclear")
		return describeJob(task);
	if (supervision === "unclear")
		return toLine(
			`cannot tell whether it runs: ${explainSilence(task) ?? explainUnknown([task.supervisor, task.process])}`,
		);
	if (supervision === "elsewhere")
		return toLine(describeMachine(task.supervisor?.machine ?? ""));
	return undefined;
}

/** The job of a task and its node, as its engine says, else as they are recorded; undefined if neither is known. */
export function describeJob(task: Task): string | undefined {
	const { engine } = task;
	const state = jobStateOf(task);
	const { job } = { ...engine, ...state };
	const node = "node" in state ? state.node : undefined;
	if (!engine || !job) return undefined;
	const where = node ? ` on ${node}` : "";
	const over = state.phase === "over" ? " is over" : "";
	return toLine(`${engine.name} ${job}${where}${over}`);
}

/** Why the job of a task is pending, in the words of its engine; undefined if it is not or that is not known. */
export function explainPending(task: Task): string | undefined {
	const state = jobStateOf(task);
	return state.phase === "pending" ? toLine(state.why) : undefined;
}

/** Why an engine does not say whether the job of a task lives; undefined if it does. */
function explainSilence(task: Task): string | undefined {
	const state = task.engine && jobStateOf(task);
	return state?.phase === "unknown" ? state.why : undefined;
}

/**
 * The note that is shown beside a task's record; undefined if there is none.
 * @param task as it was read, or as `reconcileTask` returned it.
 */
export const describeNote = (task: Task): string | undefined =>
	task.engine && !isFinal(task) ? noteJob(task) : noteSupervision(task);

// --- internal ---

/** The job of a queued task is said with why it waits. */
const noteJob = (task: Task) =>
	task.status === "running" ? describeJob(task) : undefined;

const noteSupervision = (task: Task) =>
	describeSupervision(task, checkSupervision(task)) ??
	(task.paused_at && !isFinal(task) ? "paused" : undefined) ??
	(task.recorded === false ? "not recorded" : undefined);
