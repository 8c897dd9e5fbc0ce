/** Sends to a running command that was launched with `--stdin keep`: what is sent is its standard input. */
import { refused } from "../error.ts";
import { formatDuration } from "../print/units.ts";
import { describeMachine, identifyMachine } from "../process/machine.ts";
import {
	endInput,
	keptInput,
	roomTimeoutMs,
	writeInput,
} from "../store/input.ts";
import type { Store } from "../store/paths.ts";
import type { Task } from "../task/schema.ts";
import { isFinal } from "../task/states.ts";
import { assertAutonomyOver } from "./autonomy.ts";
import { identifySender } from "./send.ts";

export type InputMessage = {
	/** Absent if the input is only ended. */
	bytes?: Uint8Array;
	/** Whether the input ends after that. */
	end: boolean;
	/** How long to wait while the input is full and takes nothing, in ms. */
	timeoutMs?: number | undefined;
};

/**
 * Writes to the standard input of a command. All of it is written, or the error says how much was.
 * @param task reconciled.
 * @throws BgError (refused) if the command cannot be sent to, does not read, or may not be sent to from here.
 */
export function sendInput(
	store: Store,
	task: Task,
	{ bytes, end, timeoutMs = roomTimeoutMs }: InputMessage,
): void {
	const { id } = task;
	identifySender(store, task);
	assertAutonomyOver(task, "send");
	assertTakesInput(task);
	if (!bytes) {
		if (!endInput(store, id))
			throw refused(`the input of ${id} was ended before`);
		return;
	}
	const done = writeInput(store, id, { bytes, end, timeoutMs });
	if (!done) throw refused(`the input of ${id} was ended (bg send --eof)`);
	const { written, problem } = done;
	if (!problem) return;
	const why =
		problem === "closed"
			? "it has closed its input"
			: `its input is full, and it read nothing for ${formatDuration(timeoutMs)} (--timeout waits longer)`;
	const total = bytes.length;
	throw refused(
		`${id} took ${written} of ${total} bytes, ${total - written} were not sent: ${why}`,
	);
}

/** @throws BgError (refused) if the command has no input that is open here. */
function assertTakesInput({ id, status, stdin, process, engine }: Task): void {
	if (stdin !== keptInput)
		throw refused(
			`${id} is a command that was launched without --stdin keep: nothing can be sent to it (bg run --stdin keep)`,
		);
	if (isFinal({ status }))
		throw refused(`${id} is ${status}: its input is closed`);
	if (status === "queued")
		throw refused(
			`${id} is queued: its input opens when it starts (bg status ${id})`,
		);
	const machine = process?.machine;
	if (machine === undefined || machine === identifyMachine().machine) return;
	const where = engine?.node ? `on ${engine.node}` : describeMachine(machine);
	throw refused(
		`${id} runs ${where}: its input can be sent to from there only`,
	);
}
