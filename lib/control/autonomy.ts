/**
 * What a call from inside a task may do. These are guard rails: a process that changes its environment
 * passes them.
 */
import { refused } from "../error.ts";
import { readOwnTaskId } from "../process/self.ts";
import { openStore } from "../store/directory.ts";
import { readTask } from "../store/records.ts";
import { type Autonomy, autonomies, type Task } from "../task/schema.ts";
import { taskVariable } from "../task/variables.ts";

/** The autonomy that a command counts as: it may do anything. */
export const commandAutonomy = "medium" satisfies Autonomy;

/** The autonomy of the task running this command; undefined outside of tasks, or if it has none. */
export function readParentAutonomy(): Autonomy | undefined {
	const id = readOwnTaskId();
	try {
		return id ? readTask(openStore(), id).autonomy : undefined;
	} catch {
		return undefined;
	}
}

/**
 * Checks that the task running this command has at least the autonomy of the task it acts on.
 * @param verb for the error.
 * @throws BgError (refused).
 */
export const assertAutonomyOver = (
	{ id, kind, autonomy = "medium" }: Task,
	verb: string,
): void =>
	assertAutonomy(
		kind === "command" ? commandAutonomy : autonomy,
		`${verb} of ${id}`,
	);

/**
 * Checks that the task running this command has at least an autonomy.
 * @param what needs it, for the error.
 * @throws BgError (refused).
 */
export function assertAutonomy(needed: Autonomy, what: string): void {
	const own = readParentAutonomy();
	if (own && autonomies.indexOf(own) < autonomies.indexOf(needed))
		throw refused(
			`${what} needs autonomy ${needed}, but the task running this command has ${own}: let its launcher do it`,
		);
}

/**
 * Checks that this does not run inside a task.
 * @param what is refused there, for the error.
 * @throws BgError (refused).
 */
export function assertOutsideTasks(what: string): void {
	if (process.env[taskVariable])
		throw refused(
			`${what} is refused inside a task: it concerns the tasks of others`,
		);
}
