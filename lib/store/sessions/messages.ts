/**
 * Messages to a task, and notes of a task for its parent's session. Both lie under the task's id, one file
 * each, in the order in which they were sent. A sender holds the lock of the task's record, so no message is
 * written after the end. It writes the file first, then the marks by which hooks find it; those of a note
 * before the file as well.
 *
 * A hook claims a message by renaming it to a name with its own identity, prints it, and renames it to
 * `.told`. The claim of a dead hook is taken over: a message may be given twice and is never lost. What waits
 * when its task has ended is undelivered; nothing is written for that.
 *
 * Messages are found by the task that a hook runs in, notes by an entry among the notices of the session.
 */
import { existsSync, rmSync } from "node:fs";
import * as v from "valibot";
import { ifExists, refused } from "../../error.ts";
import { idPattern, sessionPattern } from "../../task/ids.ts";
import type { Task } from "../../task/schema.ts";
import { isFinal, timestamp } from "../../task/states.ts";
import { makeFolder } from "../directory.ts";
import {
	discard,
	listNames,
	moveFile,
	readFile,
	removeFile,
	replaceFile,
	retryChange,
	uniqueHolderName,
	writePrivateFile,
} from "../files.ts";
import {
	archivedMessages,
	dueMark,
	messageFolder,
	type Store,
} from "../paths.ts";
import { findTask } from "../records.ts";
import { isAnyDue, isHeld, isKnownSession, markSessionDue } from "./notices.ts";
import { listSessionTasks } from "./session-index.ts";

/** `msg`: to the task. `note`: from the task to its parent's session. */
export type MessageKind = "msg" | "note";

/** The most messages, and the most notes, that wait for one task. As many told ones are kept. */
export const maxWaiting = 100;

/** The largest message, in bytes of UTF-8. */
export const maxMessageBytes = 64 * 1024;

/** The most Stop hooks of one task that deliver messages. */
export const maxStops = 10;

/** A message in the folder of a task. */
export type Message = {
	id: string;
	kind: MessageKind;
	/** Its name in the folder. */
	name: string;
	state: "waiting" | "claimed" | "told";
	/** The process that claimed it. */
	holder?: string | undefined;
};

/** `ended`: the task has ended before a hook printed it. */
export const messageStatuses = ["queued", "delivered", "undelivered"] as const;
export type MessageStatus = (typeof messageStatuses)[number];

/** A message is sent by a person, in a session, or in a task. `launched`: that session launched the task. */
const sender = () =>
	v.variant("by", [
		v.object({ by: v.literal("person") }),
		v.object({
			by: v.literal("session"),
			id: v.pipe(v.string(), v.regex(sessionPattern)),
			launched: v.optional(v.boolean()),
		}),
		v.object({
			by: v.literal("task"),
			id: v.pipe(v.string(), v.regex(idPattern)),
		}),
	]);
export type Sender = v.InferOutput<ReturnType<typeof sender>>;

const content = () =>
	v.object({ at: v.string(), from: sender(), text: v.string() });
export type MessageContent = v.InferOutput<ReturnType<typeof content>>;

/**
 * Adds a message. The caller holds the lock of the task's record.
 * @returns its id.
 * @throws BgError (refused) if too many wait.
 */
export function addMessage(
	store: Store,
	task: string,
	kind: MessageKind,
	{ from, text }: Pick<MessageContent, "from" | "text">,
): string {
	const folder = messageFolder(store, task);
	const all = listMessages(store, task).filter((each) => each.kind === kind);
	const told = all.filter(({ state }) => state === "told");
	if (all.length - told.length >= maxWaiting)
		throw refused(
			kind === "msg"
				? `${maxWaiting} messages wait for ${task}: let it get those first (bg status ${task})`
				: `${maxWaiting} notes of ${task} wait for its parent's session, which has not called a tool since`,
		);
	makeFolder(store, folder);
	const id = createMessageId(kind, all.at(-1)?.id);
	const path = `${folder}/${id}`;
	const message: MessageContent = { at: timestamp(), from, text };
	replaceFile(store, { path, text: JSON.stringify(message), durable: true });
	for (const { name } of told.slice(0, -maxWaiting))
		discard(`${folder}/${name}`);
	return id;
}

/** Takes back a message of which no hook was told. Returns false if a hook has claimed it all the same. */
export const withdrawMessage = (
	store: Store,
	task: string,
	id: string,
): boolean => removeFile(`${messageFolder(store, task)}/${id}`);

/** Lists the messages and notes of a task, each kind in the order in which it was sent. */
export function listMessages(store: Store, task: string): Message[] {
	// A note may be sent after its task was archived. A folder moves to the archive only.
	const here = listNames(store, messageFolder(store, task));
	const archived = listNames(store, archivedMessages(store, task));
	return parseNames([...new Set([...here, ...archived])]);
}

/** Whether messages to a task wait, also those that a hook is printing. A task without any costs one call. */
export const isMessageWaiting = (
	store: Store,
	task: string,
	kind: MessageKind,
): boolean =>
	hasMessages(store, task) &&
	listMessages(store, task).some(
		(each) => each.kind === kind && each.state !== "told",
	);

/** Whether a task has or had messages or notes, and is in the folder. */
export const hasMessages = (store: Store, task: string): boolean =>
	existsSync(messageFolder(store, task));

/** Reads a message; undefined if it is gone or broken. */
export function readMessage(
	store: Store,
	task: string,
	{ name }: Pick<Message, "name">,
): MessageContent | undefined {
	try {
		const read = (folder: string) => readFile(store, `${folder}/${name}`);
		const text =
			ifExists(() => read(messageFolder(store, task))) ??
			read(archivedMessages(store, task));
		return v.parse(content(), JSON.parse(text));
	} catch {
		return undefined;
	}
}

/** Claims a message, or the claim of a process that is gone. Returns undefined if another hook has it. */
export function claimMessage(
	store: Store,
	task: string,
	message: Message,
): Message | undefined {
	if (message.state === "told" || isHeld(message)) return undefined;
	const holder = uniqueHolderName();
	const name = `${message.id}@${holder}`;
	return rename(store, task, message, name)
		? { ...message, name, state: "claimed", holder }
		: undefined;
}

/** Gives a claimed message back: it was not printed. */
export function releaseMessage(
	store: Store,
	task: string,
	message: Message,
): void {
	rename(store, task, message, message.id);
}

/** Keeps a claimed message as one that was printed. */
export function settleMessage(
	store: Store,
	task: string,
	message: Message,
): void {
	retryChange(() => rename(store, task, message, `${message.id}.told`));
}

/** What became of a message. */
export function describeMessage(
	message: Message,
	task: Pick<Task, "status">,
): MessageStatus {
	if (message.state === "told") return "delivered";
	// A note goes to a session that goes on.
	if (message.kind === "note" || !isFinal(task) || isHeld(message))
		return "queued";
	return "undelivered";
}

/** Counts the messages of an ended task that no hook delivered. */
export function countUndelivered(
	store: Store,
	task: Pick<Task, "id" | "status">,
): number {
	return listMessages(store, task.id).filter(
		(each) => describeMessage(each, task) === "undelivered",
	).length;
}

/** Writes the text of a long message to a file that the droid can read. Returns its path. */
export function writeMessageText(
	store: Store,
	task: string,
	id: string,
	text: string,
): string {
	const path = `${messageFolder(store, task)}/${id}.text`;
	// A hook that was killed may have written a part of it.
	discard(path);
	writePrivateFile(path, text);
	return path;
}

/** How many Stop hooks of a task delivered messages. */
export function countStops(store: Store, task: string): number {
	return Number(ifExists(() => readFile(store, stopsFile(store, task)))) || 0;
}

/** Counts one more Stop hook that delivers messages; before it prints. */
export function countStop(store: Store, task: string): void {
	const text = String(countStops(store, task) + 1);
	replaceFile(store, { path: stopsFile(store, task), text });
}

/**
 * Marks the session of a droid task if messages wait for the task, and unmarks the one before. Called when the session
 * has become known or is another one: a sender marks the session that it knows.
 * @param task as it was before.
 */
export function markIfMessaged(
	store: Store,
	task: Task,
	session: string,
): void {
	if (isMessageWaiting(store, task.id, "msg")) markSessionDue(store, session);
	if (task.droid_session_id !== session) unmark(store, task.droid_session_id);
}

/**
 * Whether a message waits for an unfinished task whose session this is.
 * @param ended a task that has ended, although its record may not say so yet.
 */
export const isSessionMessaged = (
	store: Store,
	session: string,
	ended?: string,
): boolean =>
	listSessionTasks(store, session).some((id) => {
		if (id === ended || !isMessageWaiting(store, id, "msg")) return false;
		const task = findTask(store, id);
		return task?.droid_session_id === session && !isFinal(task);
	});

/**
 * Removes what only a running task needs: the texts for droid, and the mark of its session if nothing is due.
 * @param before the task as its last attempt began: its session may have changed since.
 */
export function endMessages(store: Store, task: Task, before = task): void {
	const { id } = task;
	if (!hasMessages(store, id)) return;
	const folder = messageFolder(store, id);
	for (const name of listNames(store, folder))
		if (name.endsWith(".text") || name === "stops")
			rmSync(`${folder}/${name}`, { force: true });
	const sessions = [task, before].map((each) => each.droid_session_id);
	for (const session of new Set(sessions)) unmark(store, session, id);
}

// --- internal ---

/**
 * Removes the mark of a session that gets no message of a task any more, unless something else is due.
 * @param ended the task, if it has ended.
 */
function unmark(
	store: Store,
	session: string | undefined,
	ended?: string,
): void {
	if (!isKnownSession(session) || !existsSync(dueMark(store, session))) return;
	rmSync(dueMark(store, session), { force: true });
	if (isAnyDue(store, session) || isSessionMessaged(store, session, ended))
		markSessionDue(store, session);
}

const stopsFile = (store: Store, task: string) =>
	`${messageFolder(store, task)}/stops`;

const rename = (store: Store, task: string, { name }: Message, to: string) => {
	const folder = messageFolder(store, task);
	return moveFile(`${folder}/${name}`, `${folder}/${to}`);
};

/** Parses the messages among the names in a folder, in their order. */
const parseNames = (names: readonly string[]): Message[] =>
	names.toSorted().flatMap((name): Message[] => {
		const [, id = "", kind, holder, told] =
			/^((msg|note)_[0-9a-f]{17})(?:@(.+)|(\.told))?$/.exec(name) ?? [];
		if (!kind) return [];
		const state = told ? "told" : holder ? "claimed" : "waiting";
		return [{ id, kind: kind as MessageKind, name, state, holder }];
	});

/**
 * Creates the id of a message: `now` (ms since 1970) in hex, six hex digits at random. It comes after
 * `last`, also if the clock was set back.
 */
function createMessageId(kind: MessageKind, last = ""): string {
	const [low = 0] = crypto.getRandomValues(new Uint32Array(1));
	const digits = (low & 0xffffff).toString(16).padStart(6, "0");
	const id = `${kind}_${Date.now().toString(16).padStart(11, "0")}${digits}`;
	if (id > last) return id;
	const next = BigInt(`0x${last.slice(kind.length + 1)}`) + 1n;
	return `${kind}_${next.toString(16).padStart(17, "0")}`;
}
