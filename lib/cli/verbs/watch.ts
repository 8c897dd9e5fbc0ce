import { cancelTasks } from "../../control/cancel.ts";
import { readOutputText } from "../../droid/pages.ts";
import { BgError, exitCodes, usage } from "../../error.ts";
import { isColourWanted } from "../../print/status.ts";
import {
	catchEndSignals,
	endBySignal,
	openScreen,
	readTerminalSize,
} from "../../print/terminal.ts";
import { isDumbTerminal, isTerminal, toLine } from "../../print/text.ts";
import { readQueueSettings } from "../../prune/queue-state.ts";
import { reconcileTasks } from "../../prune/reconcile.ts";
import { openStore } from "../../store/directory.ts";
import { watchEnds } from "../../store/ends.ts";
import { readOutputBytes, readOutputSize } from "../../store/output-files.ts";
import type { Store } from "../../store/paths.ts";
import { findTask } from "../../store/records.ts";
import { dismissNotice } from "../reply.ts";
import { RowReader } from "../task-rows.ts";
import { defineVerb } from "../verb.ts";
import {
	drawView,
	emptyView,
	pressKey,
	showRows,
	splitKeys,
	type WatchView,
} from "../watch/view.ts";

/** How often all tasks, and the followed output, are polled. */
const pollIntervalMs = 1000;
const outputPollIntervalMs = 200;

/** The most of an output that is shown. */
const maxShownBytes = 64 * 1024;

export default defineVerb({
	name: "watch",
	description: "Show tasks live, with keys to select, follow and cancel",
	group: "inspect",
	examples: {
		"bg watch": "arrows select, Enter shows the output, c cancels, q quits",
		"NO_COLOR=1 bg watch": "without colours",
	},
	args: {},
	run: async () => {
		assertTerminal();
		const store = openStore();
		const reader = new RowReader(store);
		const refreshRows = (view: WatchView) => {
			const rows = reader.toRows(reconcileTasks(store, reader.readChanged()));
			return showRows(view, rows, readQueueSettings(store).line);
		};
		const colour = isColourWanted();
		let view = refreshRows(emptyView);
		let followed = "";

		const follow = () => {
			const { mode, selected: id } = view;
			const at =
				mode === "output" && id ? `${id} ${readOutputSize(store, id)}` : "";
			if (at === followed) return;
			followed = at;
			if (at && id) view = { ...view, output: readOutputEnd(store, id) };
		};
		const refresh = () => {
			view = refreshRows(view);
			follow();
		};
		const cancel = async (id: string) => {
			view = { ...view, note: `cancelling ${id} …` };
			const note = await cancelAndDescribe(id);
			view = { ...view, note };
			guard(refresh);
		};
		const type = (text: string) => {
			for (const key of splitKeys(text)) {
				const pressed = pressKey(view, key, readTerminalSize());
				view = pressed.view;
				const { act } = pressed;
				if (act?.do === "cancel") cancel(act.id).catch(fail);
				else if (act?.do === "suspend") screen.suspend();
				else if (act) end(exitCodes.ok);
			}
			follow();
		};
		let end = (_result: number | "SIGHUP") => {};
		let fail = (_fault: unknown) => {};
		const ended = new Promise<number | "SIGHUP">((resolve, reject) => {
			end = resolve;
			fail = reject;
		});
		/** Runs an action and draws. An error ends the command and restores the terminal. */
		const guard = (action: () => void) => {
			try {
				action();
				screen.draw(drawView(view, { ...readTerminalSize(), colour }));
			} catch (fault) {
				fail(fault);
			}
		};

		const interrupt = catchEndSignals();
		const screen = openScreen({
			onText: (text) => guard(() => type(text)),
			onChange: () => guard(() => {}),
			onEnd: () => end("SIGHUP"),
		});
		const disarm = watchEnds(store, () => guard(refresh));
		const timers = [
			setInterval(() => guard(refresh), pollIntervalMs),
			setInterval(
				() => view.mode === "output" && guard(follow),
				outputPollIntervalMs,
			),
		];
		try {
			guard(() => {});
			const first = await Promise.race([ended, interrupt.signal]);
			screen.close();
			return typeof first === "number" ? first : endBySignal(interrupt, first);
		} finally {
			screen.close();
			interrupt.ignore();
			disarm();
			for (const timer of timers) clearInterval(timer);
		}
	},
});

// --- internal ---

function assertTerminal(): void {
	const instead = "(bg list, bg wait and bg output --follow do not)";
	if (!isTerminal(0) || !isTerminal(1))
		throw usage(`bg watch needs a terminal ${instead}`);
	if (isDumbTerminal())
		throw usage(
			`bg watch needs a terminal that can move its cursor, and TERM is ${process.env.TERM || "not set"} ${instead}`,
		);
}

/** The last part of an output, as text. */
function readOutputEnd(store: Store, id: string): string {
	const task = findTask(store, id);
	if (!task) return "";
	const size = readOutputSize(store, id);
	const from = Math.max(0, size - maxShownBytes);
	const start =
		from && readOutputBytes(store, id, { from, to: size }).indexOf(0x0a) + 1;
	const max = Number.POSITIVE_INFINITY;
	return readOutputText(store, task, { since: from + start, max }).output;
}

/** Cancels a task. @returns the result in one line. */
async function cancelAndDescribe(id: string): Promise<string> {
	try {
		const store = openStore({ write: true });
		const [first] = await cancelTasks(store, [id]);
		if (!first?.status) return first?.note ?? "";
		dismissNotice(store, { id, status: first.status });
		const left = first.survivors.map(({ pid }) => pid).join(", ");
		if (left) return `${id}: still alive: ${left}`;
		return first.note ?? `${id} is ${first.status}`;
	} catch (error) {
		if (error instanceof BgError) return toLine(error.message);
		throw error;
	}
}
