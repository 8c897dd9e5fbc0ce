/**
 * Sends to a running task. A message to a droid waits under the task's id until one of droid's hooks delivers
 * it (hook/messages.ts). Outside of tasks every task may be sent to; inside a task only those that it
 * launched, directly or not, and as a note its parent's session.
 */
import { isHookInstalled } from "../droid/hook-files.ts";
import { refused, usage } from "../error.ts";
import { toLine } from "../print/text.ts";
import { readOwnTaskId } from "../process/self.ts";
import { reconcileTask } from "../prune/reconcile.ts";
import type { Store } from "../store/paths.ts";
import {
	findAncestors,
	findTask,
	readTask,
	updateTask,
} from "../store/records.ts";
import {
	addMessage,
	describeMessage,
	listMessages,
	type MessageStatus,
	maxMessageBytes,
	type Sender,
	withdrawMessage,
} from "../store/sessions/messages.ts";
import {
	expectNote,
	isKnownSession,
	markSessionDue,
} from "../store/sessions/notices.ts";
import {
	findOwnedSessions,
	isOwned,
	readSessionNote,
} from "../store/sessions/session-index.ts";
import { sessionPattern } from "../task/ids.ts";
import type { Task } from "../task/schema.ts";
import { isFinal } from "../task/states.ts";
import { taskVariable } from "../task/variables.ts";

/** A message that was sent. `task`: the receiver, of a note the task that sent it. */
export type Sent = {
	task: Task;
	message: { id: string; status: MessageStatus };
};

/** How often to poll whether a message was delivered, in ms. */
const pollIntervalMs = 100;

/** How often to check whether the task's supervisor is gone, in ms. */
const fullPollIntervalMs = 1000;

/**
 * Sends a message to a task.
 * @throws BgError: usage if the text is empty or too long, refused if nothing would deliver it or the task that
 * this runs in must not send it.
 */
export function sendMessage(store: Store, id: string, text: string): Sent {
	const task = reconcileTask(store, readTask(store, id));
	const from = identifySender(store, task);
	return senders[task.kind](store, task, { from, text });
}

/**
 * Sends a note from the task running this command to its parent's session.
 * @throws BgError: usage outside of tasks or for a bad text, refused if no session would get it.
 */
export function sendNote(store: Store, text: string): Sent {
	checkText(text);
	if (!process.env[taskVariable])
		throw usage(
			'"parent" is the session that launched a task: bg send parent works inside one',
		);
	const id = readOwnTaskId();
	if (!id)
		throw refused(
			`${taskVariable} is not a task id, so the parent is not known: unset it outside of tasks`,
		);
	const own = readTask(store, id);
	const session = findParentSession(store, own);
	if (!session)
		throw refused(
			`the session that launched ${own.id} is not known (its parent is ${own.parent_session_id ?? "main"}): say it in your final answer`,
		);
	let note = "";
	// The entry comes first: a note whose sender is killed is told. A hook that finds no note removes the entry.
	expectNote(store, session, id);
	updateTask(store, id, () => {
		note = addMessage(store, id, "note", { from: { by: "task", id }, text });
		return undefined;
	});
	announce(store, { task: id, message: note }, () =>
		expectNote(store, session, id),
	);
	return { task: own, message: { id: note, status: "queued" } };
}

/**
 * Waits until a message was delivered, or is undelivered because its task has ended.
 * @param timeoutMs how long; without it, there is no limit.
 * @returns the message as it is then, and the task.
 */
export async function waitForDelivery(
	store: Store,
	{ task: { id }, message }: Sent,
	timeoutMs = Number.POSITIVE_INFINITY,
): Promise<Sent> {
	const deadline = performance.now() + timeoutMs;
	let lastFullPoll = Number.NEGATIVE_INFINITY;
	for (;;) {
		// The record first: what is not told after the end will not be told.
		let task = readTask(store, id);
		if (performance.now() - lastFullPoll >= fullPollIntervalMs) {
			lastFullPoll = performance.now();
			task = reconcileTask(store, task);
		}
		const found = listMessages(store, id).find(
			(each) => each.id === message.id,
		);
		// Only told messages are removed, once many came after them.
		const status = found ? describeMessage(found, task) : "delivered";
		const leftMs = deadline - performance.now();
		if (status !== "queued" || leftMs <= 0)
			return { task, message: { ...message, status } };
		await new Promise((resolve) =>
			setTimeout(resolve, Math.min(leftMs, pollIntervalMs)),
		);
	}
}

/** @throws BgError (refused) if this runs in a task that did not launch the other one. */
export function identifySender(store: Store, task: Task): Sender {
	if (process.env[taskVariable]) {
		const own = readOwnTaskId();
		const isAncestor =
			own !== undefined &&
			own !== task.id &&
			findAncestors(store, task.id).has(own);
		if (own && isAncestor) return { by: "task", id: own };
		throw refused(
			`${task.id} was not launched by the task running this command: a task sends only to tasks it launched, and to its parent (bg send parent)`,
		);
	}
	const session = process.env.BG_SESSION_ID;
	if (!session || !sessionPattern.test(session)) return { by: "person" };
	const sessions = findOwnedSessions(store, session);
	const isLauncher = [...findAncestors(store, task.id)].some((id) => {
		const ancestor = id === task.id ? task : findTask(store, id);
		return ancestor && isOwned(sessions, ancestor);
	});
	return {
		by: "session",
		id: session,
		...(isLauncher && { launched: true }),
	};
}

// --- internal ---

type SendOptions = { from: Sender; text: string };

/** How each kind of task is sent to. */
const senders = {
	droid: sendToDroid,
	command: (_, { id }) => {
		throw refused(`${id} is a command: it takes input, and no messages`);
	},
	native: (_, { id }) => {
		throw refused(
			`${id} is a subagent that droid runs by itself: bg has no way to reach it`,
		);
	},
} satisfies Record<
	Task["kind"],
	(store: Store, task: Task, options: SendOptions) => Sent
>;

/** @throws BgError: usage for a bad text, refused if no hook would deliver it or too many wait. */
function sendToDroid(
	store: Store,
	task: Task,
	{ from, text }: SendOptions,
): Sent {
	const { id } = task;
	checkText(text);
	assertUnfinished(task);
	if (!isHooked(store, task))
		throw refused(
			`${id} cannot get messages: droid does not have bg's hooks, which deliver them (bg install adds them; a droid reads its hooks when it starts)`,
		);
	let message = "";
	const now = updateTask(store, id, (current) => {
		assertUnfinished(current);
		message = addMessage(store, id, "msg", { from, text });
		// Under the lock: the end removes the mark. Without a session, the hook that learns it marks it.
		const { droid_session_id: session } = current;
		if (session)
			announce(store, { task: id, message }, () =>
				markSessionDue(store, session),
			);
		return undefined;
	});
	return { task: now, message: { id: message, status: "queued" } };
}

/**
 * Makes a new message known to hooks. If that fails, the message is withdrawn: its sender gets the error, and
 * sends it again.
 */
function announce(
	store: Store,
	{ task, message }: { task: string; message: string },
	mark: () => void,
): void {
	try {
		mark();
	} catch (error) {
		if (withdrawMessage(store, task, message)) throw error;
	}
}

/** @throws BgError (refused) if the task has ended. */
function assertUnfinished(task: Task): void {
	const { id, status } = task;
	if (isFinal(task))
		throw refused(
			`${id} is ${status}: a message reaches a task only before its end (bg resume ${id} continues its session)`,
		);
}

/** Whether droid calls hooks of bg in a task. One that did is proof: only a hook writes this note. */
const isHooked = (store: Store, { cwd, droid_session_id }: Task): boolean =>
	(droid_session_id !== undefined &&
		readSessionNote(store, droid_session_id, "caller") !== undefined) ||
	isHookInstalled(cwd);

/** The session that gets the notes of a task: the one that launched it, else that of the task it runs in. */
function findParentSession(store: Store, task: Task): string | undefined {
	const { parent_session_id, parent_task_id } = task;
	if (isKnownSession(parent_session_id)) return parent_session_id;
	const session =
		parent_task_id && readTask(store, parent_task_id).droid_session_id;
	return session && isKnownSession(session) ? session : undefined;
}

/** @throws BgError (usage) if a message is empty or too long. */
function checkText(text: string): void {
	if (!text.trim()) throw usage("the message is empty");
	const bytes = Buffer.byteLength(text);
	if (bytes > maxMessageBytes)
		throw usage(
			`the message has ${bytes} bytes, the maximum is ${maxMessageBytes}: write it to a file and send the path (${toLine(text, 20)})`,
		);
}
