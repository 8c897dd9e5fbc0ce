import { readBytes, readTextFile } from "../../control/launch/options.ts";
import { assertIntact, parseDurationFlag } from "../../control/schedule.ts";
import {
	type Sent,
	sendMessage,
	sendNote,
	waitForDelivery,
} from "../../control/send.ts";
import { sendInput } from "../../control/send-input.ts";
import { exitCodes, usage } from "../../error.ts";
import { reconcileTask } from "../../prune/reconcile.ts";
import { openStore } from "../../store/directory.ts";
import type { Store } from "../../store/paths.ts";
import { readTask, resolveTaskId } from "../../store/records.ts";
import type { MessageStatus } from "../../store/sessions/messages.ts";
import type { Task } from "../../task/schema.ts";
import { type FormatArguments, formatFlags, reply } from "../reply.ts";
import { defineVerb, flag, option, optional, required } from "../verb.ts";

/** In the place of an id: the session that launched the task that this runs in. */
const parentWord = "parent";

export default defineVerb({
	name: "send",
	description: "Send to a task, while it runs",
	group: "control",
	examples: {
		'bg send @last "The port is 8080."':
			"the droid gets it at its next tool call, or when it would stop",
		"bg send --wait @last --file notes.md": "wait until it got it",
		'bg send parent "Half of the tests pass."':
			"inside a task: a note for the session that launched it",
		"bg send @last y": "a line for a command of bg run --stdin keep",
		"bg send @last --file rows.sql --eof": "a file, then the end of its input",
	},
	args: {
		id: required(`task id, or ${parentWord}`, { from: "unfinished" }),
		message: optional("the message (-: standard input)"),
		file: option("file", "read the message from a file (-: standard input)", {
			from: "files",
		}),
		wait: flag("until it is delivered (exit code 1: the task ended first)"),
		timeout: option(
			"90s|30m|2h",
			"with --wait: at most (exit code 124); to a command that does not read: 2s",
		),
		"no-newline": flag("to a command: without a newline behind the message"),
		eof: flag("to a command: its input ends, after the message"),
		...formatFlags,
	},
	run: async ({ args }) => {
		const timeout = parseDurationFlag("--timeout", args.timeout);
		const store = openStore({ write: true });
		const isNote = args.id === parentWord;
		const target = isNote
			? ""
			: resolveTaskId(store, args.id, { unfinished: true });
		const command = isNote ? undefined : findCommand(store, target);
		if (command) {
			if (args.wait)
				throw usage(`--wait is for a droid, and ${target} is a command`);
			sendToCommand(store, command, { ...args, timeoutMs: timeout });
			return exitCodes.ok;
		}
		if (args.eof || args["no-newline"])
			throw usage("--eof and --no-newline are for a command");
		if (timeout !== undefined && !args.wait)
			throw usage("--timeout is for --wait");
		const text = readMessage(args);
		const queued = isNote
			? sendNote(store, text)
			: sendMessage(store, target, text);
		const sent = args.wait
			? await waitForDelivery(store, queued, timeout)
			: queued;
		const { id, status } = sent.task;
		reply(
			args,
			{
				id,
				taskId: id,
				...(isNote && { to: parentWord }),
				status,
				message: sent.message,
			},
			() => describeSent(sent, isNote),
		);
		if (!args.wait) return exitCodes.ok;
		return exitByStatus[sent.message.status];
	},
});

// --- internal ---

/** The reconciled task if it is a command. */
function findCommand(store: Store, id: string): Task | undefined {
	const task = readTask(store, id);
	return task.kind === "command" ? reconcileTask(store, task) : undefined;
}

type SourceFlags = {
	message?: string | undefined;
	file?: string | undefined;
};

type InputFlags = SourceFlags &
	FormatArguments & {
		eof?: boolean | undefined;
		"no-newline"?: boolean | undefined;
		timeoutMs: number | undefined;
	};

/** Writes to the input of a command. A message gets a newline; a file is sent as it is. */
function sendToCommand(store: Store, task: Task, flags: InputFlags): void {
	const { id, status } = task;
	const { eof = false, message, file, timeoutMs } = flags;
	const isEndOnly = eof && message === undefined && file === undefined;
	const bytes = isEndOnly ? undefined : readInput(flags);
	sendInput(store, task, { ...(bytes && { bytes }), end: eof, timeoutMs });
	const sent = { bytes: bytes?.length ?? 0, eof };
	reply(flags, { id, taskId: id, status, input: sent }, () => {
		const end = eof ? ["its input has ended"] : [];
		const parts = bytes ? [`${bytes.length} bytes sent`, ...end] : end;
		return `${id}  ${parts.join(", ")}`;
	});
}

function readInput(flags: InputFlags): Uint8Array {
	const source = chooseSource(flags);
	if ("path" in source) return readBytes("--file", source.path);
	const { text } = source;
	return new TextEncoder().encode(flags["no-newline"] ? text : `${text}\n`);
}

function readMessage(flags: SourceFlags): string {
	const source = chooseSource(flags);
	return "path" in source ? readTextFile("--file", source.path) : source.text;
}

/** Where the message is. @throws BgError (usage) unless exactly one of the two is given. */
function chooseSource({
	message,
	file,
}: SourceFlags): { text: string } | { path: string } {
	if (message !== undefined && file !== undefined)
		throw usage("the message is given twice: in argv and by --file");
	const path = message === "-" ? message : file;
	if (path !== undefined) return { path };
	if (message === undefined)
		throw usage("no message: bg send <id> <message>, or --file FILE");
	assertIntact(message, "the message", "give it by --file FILE");
	return { text: message };
}

const nextByStatus = {
	queued: (isNote) =>
		isNote
			? "the session that launched this task gets it at its next tool call"
			: "the droid gets it at its next tool call, or when it would stop",
	delivered: () => "",
	undelivered: () => "the task ended first",
} satisfies Record<MessageStatus, (isNote: boolean) => string>;

/** The exit codes of --wait. */
const exitByStatus = {
	queued: exitCodes.timedOut,
	delivered: exitCodes.ok,
	undelivered: exitCodes.failed,
} satisfies Record<MessageStatus, number>;

function describeSent(
	{ task: { id }, message: { status } }: Sent,
	isNote: boolean,
): string {
	const next = nextByStatus[status](isNote);
	const hint =
		status === "undelivered" ? ` (bg resume ${id} continues its session)` : "";
	return `${id}  ${isNote ? "note" : "message"} ${status}${next && `: ${next}`}${hint}`;
}
