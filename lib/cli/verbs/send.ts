import { type Message, readOnce } from "../../control/message.ts";
import { parseDurationFlag } from "../../control/schedule.ts";
import {
	type Sent,
	sendMessage,
	sendNote,
	waitForDelivery,
} from "../../control/send.ts";
import { sendInput } from "../../control/send-input.ts";
import {
	BgError,
	errorMessage,
	exitCodes,
	isRefusal,
	usage,
} from "../../error.ts";
import { reconcileTask } from "../../prune/reconcile.ts";
import { openStore } from "../../store/directory.ts";
import { keptInput } from "../../store/input.ts";
import type { Store } from "../../store/paths.ts";
import { findTask, readTask, resolveTaskId } from "../../store/records.ts";
import type { MessageStatus } from "../../store/sessions/messages.ts";
import type { Task } from "../../task/schema.ts";
import { isFinal } from "../../task/states.ts";
import {
	type CheckedCall,
	checkArguments,
	selectFlags,
	tokenize,
} from "../arguments.ts";
import { formatFlags, reply } from "../reply.ts";
import {
	hasSelectors,
	nameTasks,
	ownSelectorFlags,
	selectorNames,
} from "../selectors.ts";
import { defineVerb, flag, option, optional, required } from "../verb.ts";

/** In the place of an id: the session that launched the task running this command. */
const parentWord = "parent";

const args = {
	id: required(`task id, or ${parentWord}`, { from: "unfinished" }),
	message: optional("the message (-: standard input)"),
	...ownSelectorFlags,
	all: flag("all tasks that can be sent to (in a session: its own)"),
	file: option("file", "read the message from a file (-: standard input)", {
		from: "files",
	}),
	wait: flag("wait until it is delivered (exit code 1: the task ended first)"),
	timeout: option(
		"90s|30m|2h",
		"the maximum time of --wait (exit code 124), and for a command to read (2s)",
	),
	"no-newline": flag("to a command: add no newline to the message"),
	eof: flag("to a command: close its input, after the message"),
	...formatFlags,
} as const;

/** The arguments with a selector: the message is the first. */
const { id: _, ...selectingArgs } = args;

export default defineVerb({
	name: "send",
	description: "Send a message, or input, to a running task",
	group: "control",
	examples: {
		'bg send @last "The port is 8080."':
			"the droid gets it at its next tool call, or before it stops",
		"bg send --wait @last --file notes.md": "waits until the droid has got it",
		'bg send parent "Half of the tests pass."':
			"inside a task: a note for the session that launched it",
		'bg send --tag review "Stop at the first fault."':
			"sends it to all running tasks with that tag",
		"bg send @last y": "sends a line to a command of bg run --stdin keep",
		"bg send @last --file rows.sql --eof": "sends a file and closes the input",
	},
	args,
	read: parseSend,
	run: async ({ args: parsed }) => {
		const timeout = parseDurationFlag("--timeout", parsed.timeout);
		const store = openStore({ write: true });
		const flags: SendFlags = {
			...parsed,
			timeout,
			readMessage: readOnce(parsed),
		};
		if (!hasSelectors(parsed)) {
			const { json, text, exit } =
				parsed.id === parentWord
					? await sendText(store, undefined, flags)
					: await sendToTask(
							store,
							resolveTaskId(store, parsed.id, { unfinished: true }),
							flags,
						);
			reply(parsed, json, () => text);
			return exit;
		}
		const { id: _, ...selectors } = parsed;
		const ids = nameTasks(store, selectors, {
			verb: "send",
			what: "task that can be sent to",
			applies: takesMessages,
			acts: true,
		});
		// Read first: a message that cannot be read is sent to none.
		flags.readMessage();
		// Each call sends before it waits.
		const sent = await Promise.all(
			ids.map((id) => sendOrExplain(store, id, flags)),
		);
		const wrong = sent.flatMap(({ wrongUsage }) => wrongUsage ?? []);
		if (wrong.length && wrong.length === sent.length) throw wrong[0];
		const tasks = sent.map(({ json }) => json);
		reply(parsed, { tasks }, () =>
			sent.length
				? sent.map(({ text }) => text).join("\n")
				: "no task to send to",
		);
		const exits = sent.map(({ exit }) => exit);
		const worst = [exitCodes.timedOut, exitCodes.failed];
		return worst.find((code) => exits.includes(code)) ?? exitCodes.ok;
	},
});

// --- internal ---

/** With a selector there is no id. */
function parseSend(argv: readonly string[]): CheckedCall {
	const names: readonly string[] = selectorNames;
	const isSelecting = tokenize(selectFlags(args), argv).some(
		(token) => token.kind === "flag" && names.includes(token.name),
	);
	return checkArguments("send", isSelecting ? selectingArgs : args, argv);
}

/** Whether a selector means a task: a droid, or a command whose input is kept open. */
const takesMessages = (task: Task): boolean =>
	!isFinal(task) &&
	(task.kind === "droid" ||
		(task.kind === "command" && task.stdin === keptInput));

type SendFlags = {
	wait?: boolean | undefined;
	eof?: boolean | undefined;
	"no-newline"?: boolean | undefined;
	/** In ms. */
	timeout: number | undefined;
	readMessage: () => Message | undefined;
};

/** What one task is answered, in both formats, and the exit code. */
type SendReply = {
	json: { id: string; taskId: string; [key: string]: unknown };
	text: string;
	exit: number;
	/** Why the call is wrong for this task: nothing was sent to it. */
	wrongUsage?: BgError;
};

/** Sends to one of several tasks. A task that refuses it, or to which a flag does not apply, does not affect the others. */
async function sendOrExplain(
	store: Store,
	id: string,
	flags: SendFlags,
): Promise<SendReply> {
	try {
		return await sendToTask(store, id, flags);
	} catch (error) {
		if (!isRefusal(error)) throw error;
		const note = errorMessage(error);
		const isWrong = error instanceof BgError && error.exit === "usage";
		return {
			json: { id, taskId: id, status: findTask(store, id)?.status, note },
			text: `${id}  ${note}`,
			exit: exitCodes.failed,
			...(isWrong && { wrongUsage: error }),
		};
	}
}

async function sendToTask(
	store: Store,
	id: string,
	flags: SendFlags,
): Promise<SendReply> {
	const task = readTask(store, id);
	if (task.kind !== "command") return sendText(store, id, flags);
	if (flags.wait) throw usage(`--wait is for a droid, and ${id} is a command`);
	return sendBytes(store, reconcileTask(store, task), flags);
}

/** Sends a message to a droid; without an id, a note to the parent. */
async function sendText(
	store: Store,
	target: string | undefined,
	flags: SendFlags,
): Promise<SendReply> {
	const { wait, timeout } = flags;
	const isNote = target === undefined;
	if (flags.eof || flags["no-newline"])
		throw usage("--eof and --no-newline are for a command");
	if (timeout !== undefined && !wait) throw usage("--timeout is for --wait");
	const text = flags.readMessage()?.toText() ?? "";
	const queued = isNote
		? sendNote(store, text)
		: sendMessage(store, target, text);
	const sent = wait ? await waitForDelivery(store, queued, timeout) : queued;
	const { task, message } = sent;
	return {
		json: {
			id: task.id,
			taskId: task.id,
			...(isNote && { to: parentWord }),
			status: task.status,
			message,
		},
		text: describeSent(sent, isNote),
		exit: wait ? exitByStatus[message.status] : exitCodes.ok,
	};
}

/** Writes to the input of a command. A message gets a newline; a file is sent as it is. */
async function sendBytes(
	store: Store,
	task: Task,
	flags: SendFlags,
): Promise<SendReply> {
	const { id, status } = task;
	const { eof = false, timeout: timeoutMs } = flags;
	const bytes = flags.readMessage()?.toBytes(flags["no-newline"] ? "" : "\n");
	const message = { ...(bytes && { bytes }), end: eof, timeoutMs };
	const isQueued = (await sendInput(store, task, message)) === "queued";
	const input = {
		bytes: bytes?.length ?? 0,
		eof,
		...(isQueued && { queued: true }),
	};
	const end = eof
		? [isQueued ? "its input will end" : "its input has ended"]
		: [];
	const how = isQueued ? "queued: its job has not taken them yet" : "sent";
	const parts = bytes ? [`${bytes.length} bytes ${how}`, ...end] : end;
	return {
		json: { id, taskId: id, status, input },
		text: `${id}  ${parts.join(", ")}`,
		exit: exitCodes.ok,
	};
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
