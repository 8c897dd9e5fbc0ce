import { markCollected, wantsColour } from "../answer.ts";
import { cancelTasks } from "../cancel.ts";
import { openStore } from "../directory.ts";
import { BgError, exitCodes } from "../error.ts";
import { type Glance, glanceAt } from "../glance.ts";
import type { Store } from "../names.ts";
import { outputSize, readOutput } from "../outputs.ts";
import { readText } from "../pages.ts";
import { isDumb, isTerminal, toLine } from "../print.ts";
import { settle } from "../prune.ts";
import { findTask, listIds, recordVersion, watchEnds } from "../store.ts";
import { shortenIds } from "../table.ts";
import { isFinal } from "../task.ts";
import { catchEndings, endBy, openScreen, terminalSize } from "../terminal.ts";
import { defineVerb } from "../verb.ts";
import { drawView, emptyView, keysOf, press, show } from "../watch.ts";

/** How often to look at all tasks, and at the output that is followed, in ms. */
const slowLook = 1000;
const quickLook = 200;

/** How much of an output is shown at most, in bytes. */
const shownBytes = 64 * 1024;

export const watch = defineVerb({
	meta: {
		name: "watch",
		description: "Show the tasks live; select, follow and cancel them",
	},
	examples: [
		["bg watch", "arrows select, Enter shows the output, c cancels, q quits"],
	],
	args: {},
	run: async () => {
		checkTerminal();
		const store = openStore();
		const look = newLook(store);
		const colour = wantsColour();
		let view = show(emptyView, look());
		let followed = "";

		const follow = () => {
			const { mode, selected: id } = view;
			const at =
				mode === "output" && id ? `${id} ${outputSize(store, id)}` : "";
			if (at === followed) return;
			followed = at;
			if (at && id) view = { ...view, output: readLast(store, id) };
		};
		const refresh = () => {
			view = show(view, look());
			follow();
		};
		const cancel = async (id: string) => {
			view = { ...view, note: `cancelling ${id} …` };
			const note = await cancelOne(id);
			view = { ...view, note };
			guard(refresh);
		};
		const type = (text: string) => {
			for (const key of keysOf(text)) {
				const { view: next, act } = press(view, key, terminalSize());
				view = next;
				if (act?.do === "cancel") cancel(act.id).catch(over.reject);
				else if (act?.do === "suspend") screen.suspend();
				else if (act) over.resolve(exitCodes.ok);
			}
			follow();
		};
		const over = newPromise<number | "SIGHUP">();
		/** Does what an event asks for and draws; a fault ends the command, never the terminal. */
		const guard = (act: () => void) => {
			try {
				act();
				screen.draw(drawView(view, { ...terminalSize(), colour }));
			} catch (fault) {
				over.reject(fault);
			}
		};

		const interrupt = catchEndings();
		const screen = openScreen({
			onText: (text) => guard(() => type(text)),
			onChange: () => guard(() => {}),
			onEnd: () => over.resolve("SIGHUP"),
		});
		const disarm = watchEnds(store, () => guard(refresh));
		const timers = [
			setInterval(() => guard(refresh), slowLook),
			setInterval(() => view.mode === "output" && guard(follow), quickLook),
		];
		try {
			guard(() => {});
			const end = await Promise.race([over.promise, interrupt.signal]);
			screen.close();
			return typeof end === "number" ? end : endBy(interrupt, end);
		} finally {
			screen.close();
			interrupt.ignore();
			disarm();
			for (const timer of timers) clearInterval(timer);
		}
	},
});

// --- internal ---

function checkTerminal(): void {
	const instead = "(bg list, bg wait and bg output --follow need none)";
	if (!isTerminal(0) || !isTerminal(1))
		throw new BgError("usage", `bg watch needs a terminal ${instead}`);
	if (isDumb())
		throw new BgError(
			"usage",
			`bg watch needs a terminal that can move its cursor, and TERM is ${process.env.TERM || "not set"} ${instead}`,
		);
}

/** A promise and what settles it; Node 20 has no Promise.withResolvers. */
function newPromise<T>() {
	let resolve = (_value: T) => {};
	let reject = (_fault: unknown) => {};
	const promise = new Promise<T>((yes, no) => {
		resolve = yes;
		reject = no;
	});
	return { promise, resolve, reject };
}

/** A way to look at all tasks again and again that reads only what may have changed. */
function newLook(store: Store): () => Glance[] {
	type Seen = { version: string | undefined; glance: Glance; shown: boolean };
	let seen = new Map<string, Seen>();
	return () => {
		const ids = listIds(store).reverse();
		const shorten = shortenIds(ids);
		const now = new Map<string, Seen>();
		for (const id of ids) {
			const version = recordVersion(store, id);
			const before = seen.get(id);
			if (before?.version === version && before && isFinal(before.glance)) {
				now.set(id, before);
				continue;
			}
			const task = findTask(store, id);
			if (!task) continue;
			const settled = settle(store, task);
			const glance = glanceAt(store, settled);
			now.set(id, { version, glance, shown: !settled.archived_at });
		}
		seen = now;
		return [...now.values()]
			.filter(({ shown }) => shown)
			.map(({ glance }) => ({ ...glance, short: shorten(glance.id) }));
	};
}

/** The end of what a task wrote, as text. */
function readLast(store: Store, id: string): string {
	const task = findTask(store, id);
	if (!task) return "";
	const size = outputSize(store, id);
	const from = Math.max(0, size - shownBytes);
	const start = from && readOutput(store, id, from, size).indexOf(0x0a) + 1;
	const max = Number.POSITIVE_INFINITY;
	return readText(store, task, { since: from + start, max }).output;
}

/** Cancels a task and says what came of it. */
async function cancelOne(id: string): Promise<string> {
	try {
		const store = openStore({ write: true });
		const [first] = await cancelTasks(store, [id]);
		if (!first?.status) return first?.note ?? "";
		markCollected(store, { id, status: first.status });
		const left = first.survivors.map(({ pid }) => pid).join(", ");
		if (left) return `${id}: still alive: ${left}`;
		return first.note ?? `${id} is ${first.status}`;
	} catch (error) {
		if (error instanceof BgError) return toLine(error.message);
		throw error;
	}
}
