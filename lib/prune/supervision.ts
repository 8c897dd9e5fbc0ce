/** The supervision of a task: whether a supervisor watches it, by its own processes. */
import { toLine } from "../print/text.ts";
import {
	checkLiveness,
	explainUnknown,
	type Liveness,
} from "../process/identity.ts";
import { describeMachine } from "../process/machine.ts";
import type { Identity, Task } from "../task/schema.ts";
import { isFinal } from "../task/states.ts";

/** Where a task stands, by its own processes. */
export type Supervision =
	| "watched"
	| "orphaned"
	| "lost"
	| "elsewhere"
	/** No process was ever named (an old record), so nobody can say. */
	| "unknown"
	/** Droid runs it, and its session's end is reported by a hook. */
	| "native"
	/** Final, and nothing of it lives. */
	| "over"
	/** Final, and its process lives. */
	| "lingering"
	/** The kernel does not say whether it lives: nothing follows. */
	| "unclear";

export function checkSupervision(
	task: Task,
	check: (identity: Identity) => Liveness = checkLiveness,
): Supervision {
	// Whose exit was seen is over; a final task whose process lives has none yet.
	if (isFinal(task) && (task.exit_code ?? task.signal) !== undefined)
		return "over";
	const process = task.process && check(task.process);
	if (isFinal(task)) return finalSupervisions[process ?? "gone"];
	const supervisor = task.supervisor && check(task.supervisor);
	if (!supervisor) return task.kind === "native" ? "native" : "unknown";
	if (supervisor === "alive") return "watched";
	if (supervisor === "elsewhere") return "elsewhere";
	if (supervisor === "unknown") return "unclear";
	return orphanSupervisions[process ?? "gone"];
}

const finalSupervisions = {
	alive: "lingering",
	gone: "over",
	elsewhere: "over",
	unknown: "unclear",
} as const satisfies Record<Liveness, Supervision>;

/** Of an unfinished task whose supervisor is gone, by the liveness of its process. */
const orphanSupervisions = {
	alive: "orphaned",
	gone: "lost",
	elsewhere: "elsewhere",
	unknown: "unclear",
} as const satisfies Record<Liveness, Supervision>;

/** What a person should know of a task beside its status; undefined where there is nothing. */
export function describeSupervision(
	task: Task,
	supervision: Supervision,
): string | undefined {
	if (supervision === "lingering") return "process alive";
	if (supervision === "unknown") return "nobody watches it";
	if (supervision === "native") return "droid runs it";
	if (supervision === "unclear")
		return toLine(
			`cannot tell whether it runs: ${explainUnknown([task.supervisor, task.process])}`,
		);
	if (supervision === "elsewhere")
		return toLine(describeMachine(task.supervisor?.machine ?? ""));
	return undefined;
}

/**
 * The note that is shown beside a task's record; undefined if there is none.
 * @param task as it was read, or as `reconcileTask` returned it.
 */
export const describeNote = (task: Task): string | undefined =>
	describeSupervision(task, checkSupervision(task)) ??
	(task.paused_at && !isFinal(task) ? "paused" : undefined) ??
	(task.recorded === false ? "not recorded" : undefined);
