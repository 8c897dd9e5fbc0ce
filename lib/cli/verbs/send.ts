import { readTextFile } from "../../control/launch/options.ts";
import { assertIntact, parseDurationFlag } from "../../control/schedule.ts";
import {
	type Sent,
	sendMessage,
	sendNote,
	waitForDelivery,
} from "../../control/send.ts";
import { exitCodes, usage } from "../../error.ts";
import { openStore } from "../../store/directory.ts";
import { resolveTaskId } from "../../store/records.ts";
import type { MessageStatus } from "../../store/sessions/messages.ts";
import { formatFlags, reply } from "../reply.ts";
import { defineVerb, flag, option, optional, required } from "../verb.ts";

/** In the place of an id: the session that launched the task that this runs in. */
const parentWord = "parent";

export default defineVerb({
	name: "send",
	description: "Message a droid, while it runs",
	group: "control",
	examples: {
		'bg send @last "The port is 8080."':
			"the droid gets it at its next tool call, or when it would stop",
		"bg send --wait @last --file notes.md": "wait until it got it",
		'bg send parent "Half of the tests pass."':
			"inside a task: a note for the session that launched it",
	},
	args: {
		id: required(`task id, or ${parentWord}`, { from: "unfinished" }),
		message: optional("the message (-: standard input)"),
		file: option("file", "read the message from a file (-: standard input)", {
			from: "files",
		}),
		wait: flag("until it is delivered (exit code 1: the task ended first)"),
		timeout: option("90s|30m|2h", "with --wait: at most (exit code 124)"),
		...formatFlags,
	},
	run: async ({ args }) => {
		const timeout = parseDurationFlag("--timeout", args.timeout);
		if (timeout !== undefined && !args.wait)
			throw usage("--timeout is for --wait");
		const text = readMessage(args.message, args.file);
		const store = openStore({ write: true });
		const isNote = args.id === parentWord;
		const queued = isNote
			? sendNote(store, text)
			: sendMessage(
					store,
					resolveTaskId(store, args.id, { unfinished: true }),
					text,
				);
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

/** @throws BgError (usage) unless exactly one of the two is given. */
function readMessage(
	message: string | undefined,
	file: string | undefined,
): string {
	if (message !== undefined && file !== undefined)
		throw usage("the message is given twice: in argv and by --file");
	if (file !== undefined) return readTextFile("--file", file);
	if (message === undefined)
		throw usage("no message: bg send <id> <message>, or --file FILE");
	if (message === "-") return readTextFile("--file", "-");
	assertIntact(message, "the message", "give it by --file FILE");
	return message;
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
