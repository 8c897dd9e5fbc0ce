/**
 * Checks one round of the chaos test: compares the final store with what an observer outside of it
 * saw. It only reads.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { locateOutput } from "../../lib/store/output-files.ts";
import { folders } from "../../lib/store/paths.ts";
import {
	describeMessage,
	listMessages,
} from "../../lib/store/sessions/messages.ts";
import { parseTask } from "../../lib/task/parse.ts";
import type { Reason, Task } from "../../lib/task/schema.ts";
import { isFinal } from "../../lib/task/states.ts";
import { readOrNothing } from "../tools/harness.ts";
import type { Asked } from "./calls.ts";
import type { Action, Call, TaskPlan } from "./plan.ts";
import type { Seen } from "./watch.ts";

/** One call of the program, and its outcome. */
export type Called = Asked & {
	action: Action;
	killed: boolean;
	code: number | null;
	stdout: string;
	stderr: string;
	/** When it began and ended, in ms. */
	times: { from: number; to: number };
};

export type Round = {
	dir: string;
	plans: ReadonlyMap<string, TaskPlan>;
	calls: readonly Called[];
	seen: (id: string) => Seen;
	/** How many tasks may run at once at each depth. */
	maxRunning: number;
	/** Whether calls of the system were made to fail. */
	isFaulty?: boolean;
	/** Folders of the store that were removed: what only they held is gone. `space`: the disk was full. */
	removed?: ReadonlySet<string>;
	/** All records ever seen, and the first final status of each. */
	known: ReadonlyMap<string, string | undefined>;
};

/** Returns every violation, one sentence each. */
export function judgeRound(round: Round): string[] {
	const problems: string[] = [];
	const records = findRecords(round.dir, problems);
	for (const task of records.values())
		for (const problem of [
			...judgeEnd(task, records, round),
			...judgeOutput(task, round),
		])
			problems.push(`${task.id} ${problem}: ${JSON.stringify(task)}`);
	problems.push(
		...judgeAnnounced(records, round),
		...judgeBatches(records, round),
		...(isUnharmed(round, ".unique", ".locks")
			? judgeKeys(records, round)
			: []),
		...(round.removed ? [] : judgeLimit(records, round)),
		// A task whose process finds the store broken tries again a second later: others may pass it.
		...(round.removed ? [] : judgeOrder(records, round)),
		...(isUnharmed(round, ".notices", ".sessions", ".unseen", ".due")
			? judgeNotices(records, round)
			: []),
		...judgeMessages(records, round),
		...judgeInputs(records, round),
		...judgeNames(records, round.dir),
		...(round.isFaulty ? judgeRefusals(records, round) : []),
	);
	return problems;
}

/**
 * Reads every record of a store, archived or not.
 * @param problems gets a sentence for each that cannot be read.
 */
export function findRecords(
	dir: string,
	problems: string[] = [],
): Map<string, Task> {
	const records = new Map<string, Task>();
	const archive = join(dir, folders.archive);
	const archived = existsSync(archive)
		? readdirSync(archive, { recursive: true }).map((name) =>
				join(archive, String(name)),
			)
		: [];
	const here = readdirSync(dir).map((name) => join(dir, name));
	for (const name of [...archived, ...here]) {
		if (!name.endsWith(".json")) continue;
		try {
			const task = parseTask(readFileSync(name, "utf8"));
			records.set(task.id, task);
		} catch (error) {
			problems.push(`${name} cannot be read: ${error}`);
		}
	}
	return records;
}

/** The ids of the tasks that calls said they have deleted. */
export const deletedBy = (calls: readonly Called[]): Set<string> =>
	new Set(
		calls
			.filter(({ action }) => action.call.verb === "delete")
			.flatMap((call) => answerOf(call)?.deleted ?? []),
	);

type Launched = { taskId: string; sessionId: string; description: string };

/** The tasks in the answer of a launch; none if the answer is incomplete. */
export function tasksIn(call: Called): Launched[] {
	const { tasks, taskId, ...rest } = answerOf(call) ?? {};
	const all: Partial<Launched>[] = tasks ?? [{ taskId, ...rest }];
	return all.filter((each): each is Launched => each.taskId !== undefined);
}

/** Whether a call that was not killed ended in a way that is never allowed. */
export function isFault({
	argv,
	code,
	killed,
	stdout,
	stderr,
}: Called): boolean {
	if (/^ +at /m.test(stderr)) return true;
	if (killed) return false;
	if (/^hook/.test(argv[0] ?? "")) return code !== 0 || stderr !== "";
	// A task that it names may have been deleted.
	if (code === 2) return !/no task \\?"bg_/.test(stdout + stderr);
	return ![0, 1, 3, 111, 124].includes(code ?? -1);
}

// --- internal ---

/** How long ago a task must have ended for a call to delete it, in ms. */
const deleteAgeMs = 1000;

/** How much two readings of the clock may differ, in ms. */
const clockToleranceMs = 50;

// biome-ignore lint/suspicious/noExplicitAny: the answer depends on the verb
function answerOf({ stdout }: Called): any {
	try {
		return JSON.parse(stdout);
	} catch {
		return undefined;
	}
}

/** Whether a verb was called for a task, or for the task it was launched from. */
function wasAsked(
	{ calls }: Round,
	{ id, parent_task_id }: Task,
	...verbs: Call["verb"][]
): boolean {
	return calls.some(
		({ action, about }) =>
			verbs.includes(action.call.verb) &&
			(about.includes(id) || about.includes(parent_task_id ?? "none")),
	);
}

/** Whether folders of the store, or its space, were left alone. */
const isUnharmed = ({ removed }: Round, ...names: string[]) =>
	!names.some((name) => removed?.has(name));

type Sight = {
	task: Task;
	seen: Seen;
	plan: TaskPlan | undefined;
	round: Round;
};

/** What must have been seen if a task ended for a reason. */
const grounds: Record<Reason, (sight: Sight) => unknown> = {
	exit: ({ task, seen, plan, round }) => {
		if (task.signal) return seen.isHurt;
		// What a droid reads may be gone, and its words may not be written: it says that by its exit code.
		if (plan?.kind === "droid" && !isUnharmed(round, ".prompts", "space"))
			return true;
		// If a tool is killed, the droid reports it and completes. A failing droid runs no tool.
		if (plan?.kind === "droid" && seen.isHurt) return true;
		if (plan?.kind === "droid" && plan.code) return task.exit_code === 1;
		const end = seen.ends.get(task.attempt ?? 1);
		return end !== undefined && end === task.exit_code;
	},
	// The system may refuse a process; then none has begun.
	spawn: ({ task, seen, plan, round }) =>
		plan?.kind === "missing" ||
		(round.isFaulty &&
			(!seen.starts.has(task.attempt ?? 1) ||
				task.error?.startsWith("killed when it was started"))),
	timeout: ({ task, plan }) => plan?.timeout && task.stop,
	// SIGTERM kills a supervisor that has not installed its handler yet.
	lost: ({ task, seen }) =>
		task.kind === "native" || seen.isUnwatched || seen.isShutDown,
	engine: () => false,
	dependency: ({ task, seen }) => task.after?.length && !seen.starts.size,
	// If its record could not be read, the stop was requested beside it.
	cancel: ({ task, round }) =>
		(task.stop || round.isFaulty) && wasAsked(round, task, "cancel"),
	shutdown: ({ task, seen }) => task.stop && seen.isShutDown,
	hook: ({ task, round }) =>
		task.kind === "native" || wasAsked(round, task, "hook-complete"),
	manual: ({ task, round }) => wasAsked(round, task, "complete"),
	stream: ({ task, seen }) =>
		task.kind === "droid" &&
		seen.isUnwatched &&
		(seen.ends.get(task.attempt ?? 1) === 0 || seen.isHurt),
	stale: () => false,
	"output-limit": () => false,
	budget: () => false,
};

function* judgeEnd(
	task: Task,
	records: ReadonlyMap<string, Task>,
	round: Round,
): Generator<string> {
	const { plans, seen: getSeen, known, calls } = round;
	const { id, status, reason, attempt = 1 } = task;
	const plan = plans.get(task.description);
	const seen = getSeen(id);
	if (!isFinal(task) || !reason) {
		yield `is ${status}, and nothing runs any more`;
		return;
	}
	const before = known.get(id);
	if (before && before !== `${status} ${reason}`)
		yield `was ${before}, and is ${status} ${reason}`;
	if (!grounds[reason]({ task, seen, plan, round }))
		yield `is ${status}, reason ${reason}, which contradicts the observations`;
	if (status === "completed" && reason === "exit" && task.exit_code !== 0)
		yield "is completed without an exit code of 0";
	for (const [number, times] of seen.starts) {
		if (times > 1) yield `began its attempt ${number} ${times} times`;
		if (number > attempt) yield `began attempt ${number} unrecorded`;
	}
	if (/^never started/.test(task.error ?? "") && seen.starts.has(attempt))
		yield "began, and its error says never started";
	if (attempt > (plan?.retries ?? 0) + 1) yield `was tried ${attempt} times`;
	if (plan?.onEnd && seen.followed > 1)
		yield `ran its --on-end ${seen.followed} times`;
	// The process that removes the mark runs it, and may die between the two.
	const faults = readOrNothing(join(round.dir, ".supervisor.log"));
	const mayBeTaken =
		faults.includes(`${id} --on-end: `) ||
		seen.isUnwatched ||
		seen.isShutDown ||
		!isUnharmed(round, ".on-end") ||
		seen.isUnfollowed ||
		calls.some(({ killed, action }) => killed && mayEnd.has(action.call.verb));
	// A resumed task has none.
	const isExpected = plan?.onEnd && !task.resume_of;
	if (isExpected && seen.followed === 0 && !mayBeTaken)
		yield "did not run its --on-end";
	if (seen.began !== undefined)
		for (const other of task.after ?? []) {
			const end = records.get(other);
			if (!end) continue;
			if (task.after_mode !== "any" && end.status !== "completed")
				yield `began though ${other} is ${end.status}`;
			if (Date.parse(end.completed_at ?? "") > seen.began + 1)
				yield `began before ${other} ended at ${end.completed_at}`;
		}
}

/** Verbs that may record an end, because they reconcile lost tasks. */
const mayEnd = new Set(["wait", "status", "output", "cancel", "prune", "list"]);

/** A launch that was refused, and did not say that it may have happened, starts nothing. */
function* judgeRefusals(
	records: ReadonlyMap<string, Task>,
	{ calls, seen }: Round,
): Generator<string> {
	for (const { action, code, stdout, stderr } of calls) {
		if (code === 0) continue;
		const { call } = action;
		const plans =
			"task" in call ? [call.task] : "tasks" in call ? call.tasks : [];
		const names = plans.map(({ name }) => name);
		for (const { id, description } of records.values())
			if (
				names.includes(description) &&
				!(stdout + stderr).includes(id) &&
				seen(id).starts.size
			)
				yield `${id} was refused, and ran: ${stdout}${stderr}`;
	}
}

/** A unique key has one unfinished task at a time. */
function* judgeKeys(
	records: ReadonlyMap<string, Task>,
	{ seen }: Round,
): Generator<string> {
	const ran = [...records.values()].flatMap((task) => {
		const { began } = seen(task.id);
		const end = Date.parse(task.completed_at ?? "");
		const key = task.unique_key;
		return key && began ? [{ id: task.id, key, began, end }] : [];
	});
	for (const one of ran)
		for (const other of ran)
			if (
				one !== other &&
				one.key === other.key &&
				one.began <= other.began &&
				one.end > other.began + 1
			)
				yield `${other.id} ran beside ${one.id}, which has the same key`;
}

/** At no instant do more tasks run than may. What outlives a process that was killed does not count. */
function* judgeLimit(
	records: ReadonlyMap<string, Task>,
	{ seen, maxRunning }: Round,
): Generator<string> {
	const runs = [...records.values()].flatMap(({ id, depth }) =>
		seen(id).isHurt ? [] : seen(id).runs.map((run) => ({ ...run, id, depth })),
	);
	for (const { from, depth } of runs) {
		const at = runs.filter(
			(run) => run.depth === depth && run.from <= from && from < run.to,
		);
		if (at.length > maxRunning)
			yield `${at.length} tasks ran at once at depth ${depth}: ${at.map(({ id }) => id)}`;
	}
}

/** How much earlier a task that comes later may begin, in ms: a grant that nobody takes costs 2 s. */
const orderTolerance = 3000;

/** The same beside an older bg: where its supervisors free a place they wake nobody, which costs 2 s more. */
const mixedOrderTolerance = 6000;

/**
 * Tasks begin by priority, then by age, among those that wait. What was stopped, or waited for something
 * else as well, is left out.
 */
function* judgeOrder(
	records: ReadonlyMap<string, Task>,
	round: Round,
): Generator<string> {
	const { calls, seen: getSeen } = round;
	const isMixed = calls.some(({ action }) => action.form === "former");
	const tolerance = isMixed ? mixedOrderTolerance : orderTolerance;
	const begun = calls.flatMap((call) =>
		tasksIn(call).flatMap(({ taskId }) => {
			const task = records.get(taskId);
			const seen = getSeen(taskId);
			const isFree = !task?.after && !seen.isStopped && !seen.isUnwatched;
			// What was paused or edited has another place in the line.
			const isMoved = task && wasAsked(round, task, "pause", "unpause", "edit");
			if (!task || !isFree || isMoved || seen.began === undefined) return [];
			const launched = performance.timeOrigin + call.times.to;
			return [{ task, began: seen.began, launched }];
		}),
	);
	for (const first of begun)
		for (const other of begun) {
			const { priority = 0, id, depth } = first.task;
			const isBefore =
				priority - (other.task.priority ?? 0) || (id < other.task.id ? 1 : -1);
			if (
				isBefore > 0 &&
				depth === other.task.depth &&
				first.launched < other.began - tolerance &&
				first.began > other.began + tolerance
			)
				yield `${other.task.id} began ${first.began - other.began} ms before ${id}, which comes first`;
		}
}

/** The output of a task is kept, whichever process died. */
function* judgeOutput(task: Task, round: Round): Generator<string> {
	const { id, kind, attempts = [] } = task;
	const { dir, seen, calls } = round;
	if (isHalfDeleted(calls, task)) return;
	if (kind === "droid" && !isUnharmed(round, "space")) return;
	const { starts, ends, unwritten } = seen(id);
	for (const number of starts.keys()) {
		const text = [undefined, number]
			.map((attempt) => readOrNothing(locateOutput({ dir }, id, attempt)))
			.join("");
		// A droid prints the output of a tool after the tool has ended.
		const words = kind === "droid" ? ['"init"'] : [`out ${id} ${number}`];
		if (kind !== "droid" && ends.has(number))
			words.push(`whole ${id} ${number}`);
		const isTaken = (word: string) =>
			!unwritten.has(`${word.split(" ")[0]} ${number}`);
		if (!words.filter(isTaken).every((word) => text.includes(word)))
			yield `lost the output of attempt ${number} of ${attempts.length + 1}`;
	}
}

function* judgeAnnounced(
	records: ReadonlyMap<string, Task>,
	{ calls, known }: Round,
): Generator<string> {
	const deleted = deletedBy(calls);
	const mayBeGone = (id: string) =>
		deleted.has(id) ||
		calls.some(isUnprinted) ||
		(known.get(id) !== undefined &&
			calls.some((call) => isKilledDelete(call) || isKept(call, id)));
	const announced = calls
		.filter(({ action }) => /^(run|launch|batch)$/.test(action.call.verb))
		.flatMap((call) => tasksIn(call).map(({ taskId }) => taskId));
	// A launch may be undone until it is announced.
	const ended = [...known].flatMap(([id, end]) => (end ? [id] : []));
	for (const id of new Set([...announced, ...ended]))
		if (!records.has(id) && !mayBeGone(id))
			yield `${id} existed, and has no record`;
	for (const id of deleted)
		if (records.has(id)) yield `${id} was deleted, and has a record`;
}

/** Whether a call may have deleted tasks without saying so. */
const isKilledDelete = ({ action, killed }: Called) =>
	killed && action.call.verb === "delete";
const isUnprinted = ({ action, stderr }: Called) =>
	action.call.verb === "delete" &&
	stderr.includes("unable to print the answer");

/** Whether a call said that it could not delete a task. */
const isKept = (call: Called, id: string): boolean =>
	call.action.call.verb === "delete" &&
	answerOf(call)?.kept?.some(({ taskId }: { taskId: string }) => taskId === id);

/** Whether a task may be half deleted: its record is deleted last. */
const isHalfDeleted = (
	calls: readonly Called[],
	{ id, completed_at = "" }: Task,
) =>
	calls.some((call) => {
		if (!isKilledDelete(call)) return isKept(call, id);
		const end = performance.timeOrigin + call.times.to;
		return end - Date.parse(completed_at) > deleteAgeMs - clockToleranceMs;
	});

/** A batch is launched as a whole or not at all; if its launcher was killed, none of it may run. */
function* judgeBatches(
	records: ReadonlyMap<string, Task>,
	{ calls, seen }: Round,
): Generator<string> {
	if (calls.some((call) => isKilledDelete(call) || isUnprinted(call))) return;
	const deleted = deletedBy(calls);
	for (const call of calls) {
		const { action, killed } = call;
		if (action.call.verb !== "batch") continue;
		// If the launcher was killed, it is not known which ids it gave.
		const isAnyGone = tasksIn(call).some(({ taskId }) => deleted.has(taskId));
		if (isAnyGone || (killed && deleted.size)) continue;
		const all = action.call.tasks.filter(({ unique }) => !unique);
		const names = all.map(({ name }) => name);
		const there = [...records.values()].filter((task) =>
			names.includes(task.description),
		);
		const isStillborn = ({ id, reason }: Task) =>
			reason === "lost" && seen(id).starts.size === 0;
		if (killed && there.every(isStillborn)) continue;
		if (there.length && there.length < all.length)
			yield `of a batch of ${all.length} only ${there.length} exist: ${JSON.stringify(there)}`;
	}
}

/** Each end has at least one notice, and a second one only if the first hook was killed. */
function* judgeNotices(
	records: ReadonlyMap<string, Task>,
	{ calls }: Round,
): Generator<string> {
	const notified = new Map<string, Called[]>();
	for (const call of calls) {
		const { verb } = call.action.call;
		if (verb !== "hook" && verb !== "subagent") continue;
		for (const id of namedIn(noticeIn(call)))
			notified.set(id, [...(notified.get(id) ?? []), call]);
	}
	for (const task of records.values()) {
		const { id, parent_session_id = "", kind } = task;
		const hooks = notified.get(id) ?? [];
		const family = parent_session_id.replace(/-sub$/, "");
		const strangers = hooks.filter(
			({ session = "" }) => session.replace(/-sub$/, "") !== family,
		);
		if (strangers.length)
			yield `${id} of ${parent_session_id} was in a notice to ${strangers[0]?.session}`;
		const whole = hooks.filter(({ killed }) => !killed);
		if (whole.length > 1) yield `${id} was in ${whole.length} notices`;
		if (kind === "native" || parent_session_id === "main") {
			if (hooks.length) yield `${id} must not be in a notice, and was`;
			continue;
		}
		const collectors = calls.filter(
			({ about, session, action: { call } }) =>
				about.includes(id) &&
				session === parent_session_id &&
				["wait", "status", "output", "cancel"].includes(call.verb),
		);
		const isCollected = collectors.some(
			({ action: { call }, stdout, stderr, code, killed }) =>
				call.verb === "cancel" ||
				// Its answer is the text of the task alone. It may be killed once that is printed.
				(call.verb === "output" &&
					(code === 0 || (killed && stdout + stderr !== ""))) ||
				stdout.includes(id),
		);
		if (!hooks.length && !isCollected && !isHalfDeleted(calls, task))
			yield `${id} ended and was in no notice: ${JSON.stringify(task)}`;
	}
}

/**
 * Each message that was sent is delivered, or undelivered because its task ended first; it is told a second time
 * only if a hook was killed. The messages of a task are told in their order, and to it alone. Each note is told.
 */
function* judgeMessages(
	records: ReadonlyMap<string, Task>,
	{ dir, calls }: Round,
): Generator<string> {
	const order = new Map<string, { id: string; call: Called }[]>();
	for (const sent of calls) {
		const { call } = sent.action;
		if (call.verb !== "send" && call.verb !== "note") continue;
		const isNote = call.verb === "note";
		const [task = ""] = sent.about;
		const words = isNote ? `"${call.text}"` : `> ${call.text}`;
		const tellers = calls.filter(
			({ action, stdout }) =>
				/^(hook|subagent|deliver)$/.test(action.call.verb) &&
				toldIn(stdout).some((line) => line.endsWith(words)),
		);
		const whole = tellers.filter(({ killed }) => !killed);
		if (whole.length > 1)
			yield `${words} of ${task} was told ${whole.length} times`;
		if (!isNote && tellers.some(({ about }) => about[0] !== task))
			yield `${words} was told to another task than ${task}`;
		const { id, status: said } = answerOf(sent)?.message ?? {};
		const record = records.get(task);
		if (!id || !record) continue;
		if (!isNote)
			for (const teller of tellers)
				order.set(task, [...(order.get(task) ?? []), { id, call: teller }]);
		const found = listMessages({ dir }, task).find((each) => each.id === id);
		const status = found && describeMessage(found, record);
		const isTold = tellers.length > 0;
		if (isHalfDeleted(calls, record)) continue;
		if (!status || (status === "queued" && !isTold))
			yield `${words} of ${task} is lost: ${status}`;
		if (status === "delivered" && !isTold)
			yield `${words} of ${task} is delivered, and no hook told it`;
		if (status === "undelivered" && whole.length)
			yield `${words} of ${task} is undelivered, and was told`;
		if (said === "delivered" && !isTold)
			yield `${words} of ${task} was said to be delivered`;
		if (said === "undelivered" && whole.length)
			yield `${words} of ${task} was said to be undelivered`;
	}
	for (const [task, told] of order)
		for (const first of told)
			for (const later of told)
				if (
					first.id > later.id &&
					first.call.times.to < later.call.times.from &&
					!told.some(
						({ id, call }) =>
							id === later.id && call.times.from <= first.call.times.to,
					)
				)
					yield `${first.id} of ${task} was told before ${later.id}`;
}

/**
 * What was sent to a reader is read at most once and by it alone, in the order in which it was sent and without a
 * gap; not at all if it was refused. An input ends only if a call or the death of its keeper ends it, and not before
 * all that was sent is read.
 */
function* judgeInputs(
	records: ReadonlyMap<string, Task>,
	round: Round,
): Generator<string> {
	const { calls, seen: getSeen, known } = round;
	const inputs = [...known.keys()].flatMap((id) =>
		[...getSeen(id).inputs.values()].map((text) => ({ id, text })),
	);
	const fed = calls.flatMap((call) => {
		const { call: asked } = call.action;
		const [task] = call.about;
		if (asked.verb !== "feed" || !task) return [];
		return { call, task, line: `${asked.text}\n`, ends: asked.ends };
	});
	for (const { call, task, line, ends } of fed) {
		const readers = inputs.flatMap(({ id, text }) =>
			text.split(line).slice(1).fill(id),
		);
		const words = `${line.trim()} for ${task}`;
		if (readers.length > 1) yield `${words} was read ${readers.length} times`;
		if (readers.some((id) => id !== task))
			yield `${words} was read by ${readers}`;
		if (readers.length && call.code && !call.killed && !ends)
			yield `${words} was refused, and read: ${call.stdout}${call.stderr}`;
	}
	for (const task of records.values()) {
		const { inputs: texts, inputEnds, isUnkept } = getSeen(task.id);
		const text = texts.get(1);
		if (text === undefined) continue;
		const isEnded = inputEnds.has(1);
		const own = fed.filter((each) => each.task === task.id);
		if (isEnded && !isUnkept && !own.some(({ ends }) => ends))
			yield `${task.id} read the end of its input, which no call ended`;
		// Another attempt has another input.
		if ((task.attempt ?? 1) > 1) continue;
		const sent = own.filter(({ call }) => call.code === 0);
		for (const { call, line } of sent) {
			const place = text.indexOf(line);
			if (place < 0 && isEnded && !isUnkept)
				yield `${task.id} read the end of its input, and not ${line.trim()}`;
			for (const later of sent) {
				const isLater = call.times.to < later.call.times.from;
				const laterPlace = text.indexOf(later.line);
				const isBefore = place < 0 || place > laterPlace;
				if (isLater && laterPlace >= 0 && isBefore)
					yield `${task.id} read ${later.line.trim()} before ${line.trim()}: ${text}`;
			}
		}
	}
}

/** The lines that a hook told. */
function toldIn(stdout: string): string[] {
	return stdout.split("\n").flatMap((line) => {
		try {
			const { hookSpecificOutput, reason } = JSON.parse(line);
			const text = hookSpecificOutput?.additionalContext ?? reason ?? "";
			return String(text).split("\n");
		} catch {
			return [];
		}
	});
}

/** The ids that a notice names. */
function namedIn(notice: string): string[] {
	// A note of a task is a line as well: it has a quoted text in the place of the status.
	const described = /^- (bg_[0-9a-f]+)(?:: | "[^"]*": (?!"))/gm;
	const listed = /^- also ended: (.*)$/gm;
	return [
		...[...notice.matchAll(described)].map(([, id = ""]) => id),
		...[...notice.matchAll(listed)].flatMap(([, ids = ""]) => ids.split(", ")),
	];
}

function noticeIn({ stdout }: Called): string {
	try {
		const answers = stdout.split("\n").filter((line) => line);
		return answers
			.map(
				(line) => JSON.parse(line).hookSpecificOutput?.additionalContext ?? "",
			)
			.join("\n");
	} catch {
		return "";
	}
}

/** The names that may be left in each folder in the end; `id` stands for a task with a record. */
const leftovers: Record<keyof typeof folders, RegExp | undefined> = {
	sessions: /^(\.whole|[\w-]+\/(id|\.caller|\.recorded|\.ended))$/,
	progress: /^id$/,
	ends: /^[0-7]$/,
	temporary: /^(swept|swept-session|archived)$/,
	archive:
		/^[\w-]+(\/id(\.\d+)?\.(json|out)|\/id\.messages(\/(msg|note)_.*|\/stops)?)?$/,
	notices: undefined,
	unseen: /./,
	due: undefined,
	messages: /^id\/((msg|note)_[0-9a-f]{17}(@.+|\.told)?|stops)$/,
	input: undefined,
	prompts: undefined,
	locks: undefined,
	queue: undefined,
	slots: undefined,
	parked: undefined,
	after: undefined,
	// It names the last task with a key, which may have ended.
	unique: /^[0-9a-f]{64}$/,
	onEnd: undefined,
	stops: undefined,
	launches: undefined,
	broken: undefined,
};

function* judgeNames(
	records: ReadonlyMap<string, Task>,
	dir: string,
): Generator<string> {
	const mask = (name: string) =>
		name.replace(/bg_[0-9a-f]+/, (id) => (records.has(id) ? "id" : id));
	// A task that was completed manually keeps its slot while its process lives.
	const mayOutlive = (name: string) => {
		const [id = ""] = /bg_[0-9a-f]+/.exec(name) ?? [];
		return ["manual", "hook"].includes(records.get(id)?.reason ?? "");
	};
	const top = /^(id(\.\d+)?\.out|id\.json|\.limits|\.(supervisor|hook)\.log)$/;
	for (const entry of readdirSync(dir, { withFileTypes: true }))
		if (!entry.isDirectory() && !top.test(mask(entry.name)))
			yield `${entry.name} is left over`;
	for (const [key, folder] of Object.entries(folders)) {
		const may = leftovers[key as keyof typeof folders];
		for (const entry of readdirSync(join(dir, folder), {
			withFileTypes: true,
			recursive: true,
		})) {
			const hasFolders = ["sessions", "notices", "messages"].includes(key);
			if (entry.isDirectory() && hasFolders) continue;
			const path = join(entry.parentPath, entry.name);
			const name = path.slice(join(dir, folder).length + 1);
			if (!may?.test(mask(name)) && !(key === "slots" && mayOutlive(name)))
				yield `${folder}/${name} is left over`;
		}
	}
}
