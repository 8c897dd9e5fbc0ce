/** Sends to a running command that was launched with `--stdin keep`: what is sent is its standard input. */
import { setTimeout as delay } from "node:timers/promises";
import { loadedEngine } from "../engine/engine.ts";
import { refused } from "../error.ts";
import { formatDuration } from "../print/units.ts";
import { describeMachine, identifyMachine } from "../process/machine.ts";
import { removeFile } from "../store/files.ts";
import {
	endInput,
	isInputOpen,
	keptInput,
	listPosted,
	postInput,
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
 * Writes to the standard input of a command. All of it is written, or the error says how much was. What is sent to a
 * job on another machine is put into the store first.
 * @param task reconciled.
 * @returns whether it is in the command's input, or still in the store: its supervisor writes it as soon as it can.
 * @throws BgError (refused) if the command cannot be sent to, does not read, or may not be sent to from here.
 */
export async function sendInput(
	store: Store,
	task: Task,
	{ bytes, end, timeoutMs = roomTimeoutMs }: InputMessage,
): Promise<"sent" | "queued"> {
	const { id } = task;
	identifySender(store, task);
	assertAutonomyOver(task, "send");
	assertTakesInput(task);
	if (task.engine && (!isHere(task) || listPosted(store, id).length))
		return sendToJob(store, task, { bytes, end, timeoutMs });
	if (!bytes) {
		if (!endInput(store, id))
			throw refused(`the input of ${id} was ended before`);
		return "sent";
	}
	const done = writeInput(store, id, { bytes, end, timeoutMs });
	if (!done) throw refused(`the input of ${id} was ended (bg send --eof)`);
	const { written, problem } = done;
	if (!problem) return "sent";
	const why =
		problem === "closed"
			? "it has closed its input"
			: `its input is full, and it read nothing for ${formatDuration(timeoutMs)} (--timeout waits longer)`;
	const total = bytes.length;
	throw refused(
		`${id} took ${written} of ${total} bytes, ${total - written} were not sent: ${why}`,
	);
}

// --- internal ---

/** How often to look whether a job has taken its input, in ms. */
const pollMs = 20;

/**
 * Posts input and rings. A job that is not told by its engine looks within 10 s.
 * @param timeoutMs how long to wait until it is in the pipe.
 */
async function sendToJob(
	store: Store,
	task: Task,
	{
		bytes,
		end,
		timeoutMs,
	}: { bytes: Uint8Array | undefined; end: boolean; timeoutMs: number },
): Promise<"sent" | "queued"> {
	const { id } = task;
	const posted = postInput(store, id, { bytes, end });
	if (!posted) throw refused(`the input of ${id} was ended (bg send --eof)`);
	void loadedEngine()?.ring([task]);
	const deadline = performance.now() + timeoutMs;
	for (;;) {
		const left = listPosted(store, id).filter(({ path }) =>
			posted.includes(path),
		);
		if (left.length === 0) return "sent";
		if (!isInputOpen(store, id)) {
			if (left.filter(({ path }) => removeFile(path)).length === 0)
				return "sent";
			throw refused(`${id} has closed its input: not all of it was sent`);
		}
		if (performance.now() > deadline) return "queued";
		await delay(pollMs);
	}
}

const isHere = ({ process }: Task) =>
	process?.machine === identifyMachine().machine;

/** @throws BgError (refused) if the command has no input that is open here. */
function assertTakesInput(task: Task): void {
	const { id, status, stdin, process, engine } = task;
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
	if (machine !== undefined && !engine && !isHere(task))
		throw refused(
			`${id} runs on ${describeMachine(machine)}: bg send reaches its input only from there`,
		);
}
