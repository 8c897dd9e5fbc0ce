/**
 * Parked launches. A launch that has to wait for its place waits as a small shell, a child of its launcher
 * like the supervisor that it becomes by `exec` when it is woken: same pid, same start time, and the
 * launcher's environment, umask, limits and cgroup.
 *
 * The mark of a task exists as long as its shell must stay. A process that wakes the shell renames the mark
 * first, so a signal that comes before the shell has set its traps is not lost. The shell polls after 4 s
 * whether its launcher died before it had handed over, and then every 45 s whether the queue is repaired
 * and its record is there. If not, it becomes a supervisor.
 */
import { existsSync, readFileSync } from "node:fs";
import { removePromptFiles } from "../droid/exec.ts";
import { isExecutable } from "../process/executables.ts";
import { identifyMachine } from "../process/machine.ts";
import type { Command } from "../process/runtime.ts";
import { programFile } from "../process/self.ts";
import { sendSignal, shutdownSignals, wakeSignal } from "../process/signals.ts";
import { discard, moveFile, touch } from "../store/files.ts";
import {
	folderPath,
	goneMark,
	parkedMark,
	queueBeat,
	recordFile,
	type Store,
	wokenMark,
} from "../store/paths.ts";
import type { Task } from "../task/schema.ts";
import { splitEnvironment } from "./environment.ts";
import { dequeue, withdrawGrant } from "./queue.ts";

/**
 * The command of a parked shell that becomes a supervisor.
 * @param supervise the command of the supervisor.
 * @param launch the name of the pending launch's claim, in `.launches`.
 * @returns undefined if the launch cannot wait as a shell: it has to wait as a supervisor.
 */
export function parkCommand(
	store: Store,
	id: string,
	supervise: Command,
	launch: string,
): Command | undefined {
	const sleep = ["/bin/sleep", "/usr/bin/sleep"].find(isExecutable);
	const env = splitEnvironment(supervise.env);
	if (!sleep || !env || !isExecutable(shell) || isAnySignalIgnored())
		return undefined;
	const paths = [
		parkedMark(store, id),
		recordFile(store, id),
		queueBeat(store, identifyMachine().machine),
		sleep,
		programFile(),
		`${folderPath(store, "launches")}/${launch}`,
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

/** Whether the shell of a task was woken, and the supervisor that it becomes does not run yet. */
export const isWaking = (store: Store, { id }: Pick<Task, "id">) =>
	existsSync(wokenMark(store, id));

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
	withdrawGrant(store, task);
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

/** When a parked shell polls for the first time, and how often afterwards, in seconds. */
const firstPollSeconds = 4;
const pollSeconds = 45;

/** The same without /proc, where the shell can only compare the beat before and after. */
const pollSecondsWithoutUptime = 27;

/** What the shell does after a signal to end. */
const ignoreShutdown = `trap "" ${shutdownSignals.map(signalName).join(" ")}`;

/** How old the beat is, in seconds, if the queue is not repaired any more. */
const deadBeatSeconds = 10;

/**
 * Its parameters: the mark, the record, the beat of the queue, `sleep`, the file of bg, the claim of the
 * launch, and the command of the supervisor. All but `sleep` are builtins, so a waking shell starts nothing.
 * It sets no variable but its own, because an exported one would reach the task. A trap gets the parameters
 * of the function that it interrupts: no function runs while the shell waits, and `become` sets other traps
 * before it shifts its own. A missing mark lets it leave only if its record says that the task is not queued: the
 * folder of the marks may have been removed, or permission to look into the store taken away. It ends `sleep` by
 * SIGKILL: between its fork and its exec, a child still catches the signals that have traps. After a signal to end,
 * further ones are ignored: they would kill the supervisor before it handles them. (Node does not keep that.)
 *
 * In dash, a trap that interrupts another trap gives the interrupted command the status that the first trap found. So
 * `become` takes no decision by one status: `case` has none, and bg is gone only if a test that it is missing holds and
 * a test that it is there does not.
 */
const script = `# bg: a task that waits for its turn
become() {
	trap - EXIT CONT ${signalName(wakeSignal)}
${trapShutdown("")}
	case $BG_PARKED_SIGNAL in ?*) ${ignoreShutdown} ;; esac
	case $! in "$BG_PARKED_DONE") ;; *) kill -9 "$!"; wait "$!" ;; esac
	if [ ! -r "$5" ] || [ ! -x "$7" ]; then
		[ -r "$5" ] && [ -x "$7" ] || { : >"$1.gone"; exit 127; }
	fi
	shift 6
	exec "$@" \${BG_PARKED_SIGNAL:+"$BG_PARKED_SIGNAL"}
}
isQueued() {
	[ -d "\${2%/*}" ] && ! [ -x "\${2%/*}" ] && return 0
	while IFS= read -r BG_PARKED_REST; do
		case $BG_PARKED_REST in ' "status": "queued",') return 0 ;; ' "status": '*) return 1 ;; esac
	done <"$2"
	return 1
}
wake() {
	[ -e "$1" ] || [ -e "$1.woken" ] || isQueued "$@" && become "$@"
	trap - EXIT
	case $! in "$BG_PARKED_DONE") ;; *) kill -9 "$!" ;; esac
	exit 0
}
BG_PARKED_DONE= BG_PARKED_SIGNAL= BG_PARKED_PAUSE=${firstPollSeconds}
trap 'wake "$@"' ${signalName(wakeSignal)}
trap 'become "$@"' EXIT CONT
${trapShutdown('; become "$@"')}
while [ -e "$1" ]; do
	BG_PARKED_BEFORE= BG_PARKED_AFTER= BG_PARKED_AT= BG_PARKED_NOW=
	read -r BG_PARKED_BEFORE BG_PARKED_AT <"$3"
	"$4" "$BG_PARKED_PAUSE" & wait "$!"
	BG_PARKED_DONE=$!
	[ -e "$2" ] || become "$@"
	read -r BG_PARKED_AFTER BG_PARKED_AT <"$3"
	read -r BG_PARKED_NOW BG_PARKED_REST </proc/uptime
	if [ "$BG_PARKED_PAUSE" = ${firstPollSeconds} ]; then
		[ -e "$6" ] && become "$@"
	elif [ -n "$BG_PARKED_NOW" ] && [ -n "$BG_PARKED_AT" ]; then
		BG_PARKED_AGE=$((\${BG_PARKED_NOW%%.*} - BG_PARKED_AT))
		[ "$BG_PARKED_AGE" -ge 0 ] && [ "$BG_PARKED_AGE" -lt ${deadBeatSeconds} ] || become "$@"
	else
		[ "$BG_PARKED_BEFORE" != "$BG_PARKED_AFTER" ] || become "$@"
	fi
	BG_PARKED_PAUSE=${pollSeconds}
	[ -n "$BG_PARKED_NOW" ] || BG_PARKED_PAUSE=${pollSecondsWithoutUptime}
done
wake "$@"
`;

/** The lines that trap the signals to end: the first one, which asks the supervisor to stop its task, is passed to it. */
function trapShutdown(then: string): string {
	return shutdownSignals
		.map(
			(name) =>
				`\ttrap 'BG_PARKED_SIGNAL=--signal=${name}; ${ignoreShutdown}${then}' ${signalName(name)}`,
		)
		.join("\n");
}

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
		const { constants } = process.getBuiltinModule("node:os");
		const signals = [wakeSignal, ...shutdownSignals] as const;
		return signals.some(
			(name) => (ignored >> BigInt(constants.signals[name] - 1)) & 1n,
		);
	} catch {
		return false;
	}
}
