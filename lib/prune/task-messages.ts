/** The messages to a task and its notes, as `status`, `list` and `watch` show them. */
import { toData } from "../print/text.ts";
import type { Store } from "../store/paths.ts";
import {
	describeMessage,
	listMessages,
	type MessageContent,
	type MessageStatus,
	messageStatuses,
	readMessage,
} from "../store/sessions/messages.ts";
import type { Task } from "../task/schema.ts";

export type ShownMessage = { id: string; status: MessageStatus } & Partial<
	Pick<MessageContent, "at" | "from" | "text">
>;

export type TaskMessages = {
	/** To the task, oldest first. */
	messages?: ShownMessage[];
	/** From the task to its parent's session, oldest first. */
	notes?: ShownMessage[];
};

/** How many of each kind `status` shows without `--full`. */
const maxShown = 5;

/** Reads the newest messages and notes of a task, with `full` all that are kept. */
export function readTaskMessages(
	store: Store,
	task: Task,
	full = false,
): TaskMessages {
	const all = listMessages(store, task.id);
	const read = (kind: string): ShownMessage[] | undefined => {
		const chosen = all
			.filter((each) => each.kind === kind)
			.slice(full ? 0 : -maxShown);
		if (chosen.length === 0) return undefined;
		return chosen.map((each) => ({
			id: each.id,
			status: describeMessage(each, task),
			...readMessage(store, task.id, each),
		}));
	};
	const [messages, notes] = [read("msg"), read("note")];
	return { ...(messages && { messages }), ...(notes && { notes }) };
}

/** Describes the messages of a task in a line: those that wait, those that its end overtook, the newest note. */
export function describeTaskMessages(store: Store, task: Task): string[] {
	const all = listMessages(store, task.id);
	const counts = countByStatus(
		all
			.filter(({ kind }) => kind === "msg")
			.map((each) => describeMessage(each, task)),
	);
	const note = all.findLast(({ kind }) => kind === "note");
	const text = note && readMessage(store, task.id, note)?.text;
	return [
		...formatCounts({ ...counts, delivered: 0 }).map(
			(count) => `messages: ${count}`,
		),
		...(text ? [`note: "${toData(text, 100)}"`] : []),
	];
}

/** All messages and the newest notes of a task for a person, each kind as one text. */
export function renderTaskMessages(
	{ messages = [], notes = [] }: TaskMessages,
	id: string,
): Record<"messages" | "notes", string> {
	const counts = countByStatus(messages.map(({ status }) => status));
	const hint = counts.undelivered
		? ` (it ended first: bg resume ${id} continues its session)`
		: "";
	return {
		messages: messages.length
			? `${formatCounts(counts).join(", ")}${hint}; the last: "${toData(messages.at(-1)?.text ?? "", 200)}"`
			: "",
		notes: notes
			.slice(-maxShown)
			.map(({ text = "" }) => `"${toData(text, 200)}"`)
			.join("\n"),
	};
}

// --- internal ---

type Counts = Record<MessageStatus, number>;

function countByStatus(statuses: readonly MessageStatus[]): Counts {
	const counts: Counts = { queued: 0, delivered: 0, undelivered: 0 };
	for (const status of statuses) counts[status]++;
	return counts;
}

/** `2 queued`, for each status that there is. */
const formatCounts = (counts: Counts): string[] =>
	messageStatuses.flatMap((status) =>
		counts[status] ? [`${counts[status]} ${status}`] : [],
	);
