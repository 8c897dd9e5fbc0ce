/**
 * Parked launches. A launch that has to wait for its place waits as a small shell, a child of its launcher
 * like the supervisor that it becomes by `exec` when it is woken: same pid, same start time, and the
 * launcher's environment, umask, limits and cgroup.
 *
 * The mark of a task is there as long as its shell is to stay. Whoever wakes the shell renames the mark
 * first, so a signal that comes before the shell has set its traps is not lost. Once a minute the shell
 * looks whether somebody in line is awake, and whether its record is there.
 */
import { existsSync, readFileSync } from "node:fs";
import { constants } from "node:os";
import { removePromptFiles } from "../droid/exec.ts";
import { isExecutable } from "../process/executables.ts";
import { programFile } from "../process/self.ts";
import { sendSignal, shutdownSignals, wakeSignal } from "../process/signals.ts";
import { discard, moveFile, touch } from "../store/files.ts";
import {
	goneMark,
	parkedMark,
	queueBeat,
	recordFile,
	type Store,
	wokenMark,
} from "../store/paths.ts";
import type { Task } from "../task/schema.ts";
import { splitEnvironment } from "./environment.ts";
import { dequeue } from "./queue.ts";

/** A program to start. */
export type Command = {
	program: string;
	args: readonly string[];
	env: NodeJS.ProcessEnv;
};

/**
 * The command of a parked shell that becomes a supervisor.
 * @param supervise the command of the supervisor.
 * @returns undefined if the launch cannot wait as a shell: it has to wait as a supervisor.
 */
export function parkCommand(
	store: Store,
	id: string,
	supervise: Command,
): Command | undefined {
	const sleep = ["/bin/sleep", "/usr/bin/sleep"].find(isExecutable);
	const env = splitEnvironment(supervise.env);
	if (!sleep || !env || !isExecutable(shell) || isAnySignalIgnored())
		return undefined;
	const paths = [
		parkedMark(store, id),
		recordFile(store, id),
		queueBeat(store),
		sleep,
		programFile(),
	];
	return {
		program: shell,
		args: [
			...["-c", script, `bg: ${id} waits`, ...paths],
			...[supervise.program, ...supervise.args, "--parked"],
		],
		env,
	};
}

/** Makes the mark of a task that is about to be parked. @throws the system's error. */
export const createParkedMark = (store: Store, id: string) =>
	touch(parkedMark(store, id));

/** Removes the marks of a task that is not parked any more, or not launched. */
export function removeParkedMarks(store: Store, id: string): void {
	discard(parkedMark(store, id));
	discard(wokenMark(store, id));
	discard(goneMark(store, id));
}

/** Whether a task waits as a shell that nobody has woken. */
export const isParked = (store: Store, { id }: Pick<Task, "id">) =>
	existsSync(parkedMark(store, id));

/** Wakes a task that waits: its supervisor, or the shell that becomes it. */
export function wakeTask(
	store: Store,
	{ id, supervisor }: Pick<Task, "id" | "supervisor">,
): void {
	moveFile(parkedMark(store, id), wokenMark(store, id));
	if (supervisor) sendSignal(supervisor, wakeSignal);
}

/**
 * Takes a task that has ended while it was queued out of the line; what waits for it leaves. Then places
 * have to be handed over: it may have been the first in line.
 */
export function dismissTask(store: Store, task: Task): void {
	dequeue(store, task);
	// Its --on-end runs in its own environment, so its supervisor has to start for it.
	if (task.on_end) {
		wakeTask(store, task);
		return;
	}
	if (isParked(store, task)) removePromptFiles(store, task.id);
	removeParkedMarks(store, task.id);
	if (task.supervisor) sendSignal(task.supervisor, wakeSignal);
}

// --- internal ---

const shell = "/bin/sh";

/** How often a parked shell looks whether somebody in line is awake, in seconds. */
const tickSeconds = 55;

/**
 * Its parameters: the mark, the record, the beat of the queue, `sleep`, the file of bg, and the command of
 * the supervisor. All but `sleep` are builtins, so a waking shell starts nothing. It sets no variable but
 * its own, because an exported one would reach the task. It ends `sleep` by SIGKILL: between its fork and
 * its exec, a child still catches the signals that have traps.
 */
const script = `# bg: a task that waits for its turn
become() {
	trap - EXIT
	[ -z "$BG_PARKED_NAP" ] || { kill -9 "$BG_PARKED_NAP"; wait "$BG_PARKED_NAP"; }
	[ -r "$5" ] && [ -x "$6" ] || { : >"$1.gone"; exit 127; }
	shift 5
	exec "$@"
}
wake() {
	[ -e "$1" ] || [ -e "$1.woken" ] && become "$@"
	trap - EXIT
	[ -z "$BG_PARKED_NAP" ] || kill -9 "$BG_PARKED_NAP"
	exit 0
}
BG_PARKED_NAP=
trap 'wake "$@"' ${signalName(wakeSignal)}
trap 'become "$@"' EXIT
${shutdownSignals.map((name) => `trap 'become "$@" --signal=${name}' ${signalName(name)}`).join("\n")}
while [ -e "$1" ]; do
	BG_PARKED_BEFORE= BG_PARKED_AFTER=
	read -r BG_PARKED_BEFORE <"$3"
	"$4" ${tickSeconds} & BG_PARKED_NAP=$!
	wait "$BG_PARKED_NAP"
	BG_PARKED_NAP=
	read -r BG_PARKED_AFTER <"$3"
	[ -e "$2" ] && [ "$BG_PARKED_BEFORE" != "$BG_PARKED_AFTER" ] || become "$@"
done
wake "$@"
`;

/** The name of a signal for the shell. */
function signalName(name: string): string {
	return name.slice("SIG".length);
}

/** Whether a signal that the shell has to trap is ignored: a shell cannot trap such a one. */
function isAnySignalIgnored(): boolean {
	try {
		const status = readFileSync("/proc/self/status", "utf8");
		const ignored = BigInt(
			`0x${/^SigIgn:\s*([0-9a-f]+)/m.exec(status)?.[1] ?? 0}`,
		);
		const signals = [wakeSignal, ...shutdownSignals] as const;
		return signals.some(
			(name) => (ignored >> BigInt(constants.signals[name] - 1)) & 1n,
		);
	} catch {
		return false;
	}
}
